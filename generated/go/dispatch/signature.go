package dispatch

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HTTP Message Signatures (RFC 9421) by Ed25519. Only the one labelled `dispatch` counts.
const label, maxAge, clockSkew = "dispatch", 5 * time.Minute, 5 * time.Second

var (
	covered = []string{"@method", "@path", "@authority", "content-type", "content-digest"}

	labelForm     = regexp.MustCompile(`^[a-z*][a-z0-9_.*-]*$`)
	inputForm     = regexp.MustCompile(`^\(((?:"[^"\\]+"(?: "[^"\\]+")*)?)\)((?:;[a-z]+=(?:-?\d{1,15}|"[^"\\]*"))*)$`)
	parameterForm = regexp.MustCompile(`;([a-z]+)=(-?\d+|"[^"]*")`)
	bytesForm     = regexp.MustCompile(`^:([A-Za-z0-9+/]*={0,2}):$`)
	digestForm    = regexp.MustCompile(`(?:^|,)\s*sha-512=:([A-Za-z0-9+/]*={0,2}):`)
)

// SignatureError says why a request is refused.
type SignatureError struct {
	Status  int // of HTTP: 401 for a signature that is missing or malformed, 403 for another
	Message string
}

func (e *SignatureError) Error() string { return e.Message }

func malformed(format string, arguments ...any) error {
	return &SignatureError{http.StatusUnauthorized, fmt.Sprintf(format, arguments...)}
}

func invalid(format string, arguments ...any) error {
	return &SignatureError{http.StatusForbidden, fmt.Sprintf(format, arguments...)}
}

// ParseVerificationKey reads the public key of a service: PEM, in which a literal \n is a newline
// too, or base64 of its 32 bytes.
func ParseVerificationKey(text string) (ed25519.PublicKey, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, `\n`, "\n"))
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PublicKey); ok {
				return key, nil
			}
		}
	} else if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == 32 {
		return raw, nil
	}
	return nil, errors.New("an Ed25519 public key is required, as PEM or as base64 of its 32 bytes")
}

// VerifyRequest verifies that a request was signed with a key in the last 5 minutes, and was not
// changed since. The error is a *SignatureError.
//
// `own` is the URL that the request may have been signed for instead of its own, or nil.
func VerifyRequest(
	r *http.Request, body []byte, key ed25519.PublicKey, own *url.URL, now time.Time,
) error {
	input, err := member(r.Header, "Signature-Input")
	if err != nil {
		return err
	}
	text, err := member(r.Header, "Signature")
	if err != nil {
		return err
	}
	form, encoded := inputForm.FindStringSubmatch(input), bytesForm.FindStringSubmatch(text)
	if form == nil || encoded == nil {
		return malformed("the signature, or its input, is malformed")
	}
	signature, err := base64.StdEncoding.DecodeString(encoded[1])
	if err != nil {
		return malformed("the signature is not base64")
	}
	names := strings.Fields(strings.ReplaceAll(form[1], `"`, ""))
	if err := checkParameters(form[2], now); err != nil {
		return err
	}
	for _, name := range covered {
		if !slices.Contains(names, name) {
			return invalid("the signature does not cover %s", name)
		}
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	targets := [][2]string{{r.Host, path}}
	if own != nil && own.Host != "" {
		_, method, _ := strings.Cut(path, "/dispatch.sdk.v1.")
		ownPath := strings.TrimSuffix(own.EscapedPath(), "/") + "/dispatch.sdk.v1." + method
		targets = append(targets, [2]string{own.Host, ownPath})
	}
	for _, target := range targets {
		base, err := signatureBase(r, names, input, target[0], target[1])
		if err != nil {
			return err
		}
		if ed25519.Verify(key, base, signature) {
			return checkDigest(r.Header.Get("Content-Digest"), body)
		}
	}
	return invalid("the signature does not fit the request: something was changed, or it was made " +
		"with another key")
}

// member returns the member of a header with our label (RFC 8941, a dictionary).
func member(header http.Header, name string) (string, error) {
	values := header.Values(name)
	if len(values) != 1 {
		return "", malformed("one header %s is required; there are %d", name, len(values))
	}
	found, start, quoted, escaped := "", 0, false, false
	text := values[0] + ","
	for i, char := range text {
		if char == '"' && !escaped {
			quoted = !quoted
		}
		escaped = quoted && char == '\\' && !escaped
		if char != ',' || quoted {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(text[start:i]), "=")
		start = i + 1
		if !labelForm.MatchString(key) || (key == label && found != "") {
			return "", malformed("the header %s is malformed", name)
		}
		if key == label {
			found = value
		}
	}
	if found == "" {
		return "", malformed("the header %s has no member %q", name, label)
	}
	return found, nil
}

func checkParameters(text string, now time.Time) error {
	parameters := map[string]string{}
	for _, found := range parameterForm.FindAllStringSubmatch(text, -1) {
		if _, ok := parameters[found[1]]; ok {
			return malformed("the parameter %s of the signature occurs twice", found[1])
		}
		parameters[found[1]] = found[2]
	}
	for name, value := range parameters {
		switch name {
		case "created", "expires":
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return malformed("the parameter %s of the signature is not a number", name)
			}
			age := now.Sub(time.Unix(seconds, 0))
			if name == "created" && (age > maxAge+clockSkew || age < -clockSkew) {
				return invalid("the signature is %s old; 5 minutes are allowed", age.Round(time.Second))
			}
			if name == "expires" && age > clockSkew {
				return invalid("the signature has expired")
			}
		case "keyid", "alg":
			if allowed := map[string]string{"keyid": `"default"`, "alg": `"ed25519"`}[name]; value != allowed {
				return invalid("the parameter %s of the signature must be %s", name, allowed)
			}
		case "nonce", "tag":
		default:
			return invalid("the parameter %s of the signature is not known", name)
		}
	}
	for _, name := range []string{"created", "keyid"} {
		if parameters[name] == "" {
			return malformed("the signature has no parameter %s", name)
		}
	}
	return nil
}

// signatureBase returns what is signed: RFC 9421, section 2.5.
func signatureBase(r *http.Request, names []string, input, host, path string) ([]byte, error) {
	host = strings.ToLower(host)
	for _, port := range []string{":80", ":443"} {
		host = strings.TrimSuffix(host, port)
	}
	derived := map[string]string{"@method": r.Method, "@path": path, "@authority": host}
	var base bytes.Buffer
	for i, name := range names {
		value, ok := derived[name]
		if !ok {
			values := r.Header.Values(name)
			if len(values) != 1 || name != strings.ToLower(name) {
				return nil, invalid("%s is signed: one header of this name is required", name)
			}
			value = strings.TrimSpace(values[0])
		}
		if slices.Contains(names[:i], name) {
			return nil, malformed("%s is signed twice", name)
		}
		fmt.Fprintf(&base, "%q: %s\n", name, value)
	}
	fmt.Fprintf(&base, "\"@signature-params\": %s", input)
	return base.Bytes(), nil
}

func checkDigest(header string, body []byte) error {
	found := digestForm.FindStringSubmatch(header)
	if found == nil {
		return invalid("the header Content-Digest has no sha-512")
	}
	digest := sha512.Sum512(body)
	if found[1] != base64.StdEncoding.EncodeToString(digest[:]) {
		return invalid("the body does not fit the header Content-Digest")
	}
	return nil
}

// verifying wraps a handler, which then is given requests with a valid signature only.
func verifying(next http.Handler, key ed25519.PublicKey, own *url.URL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid_argument", "the body cannot be read: "+err.Error())
			return
		}
		if err := VerifyRequest(r, body, key, own, time.Now()); err != nil {
			status, code := http.StatusUnauthorized, "unauthenticated"
			if refused := (*SignatureError)(nil); errors.As(err, &refused) && refused.Status == http.StatusForbidden {
				status, code = http.StatusForbidden, "permission_denied"
			}
			refuse(w, status, code, err.Error())
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message})
}
