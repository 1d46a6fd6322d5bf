package dispatch

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	sdkv1 "@go.module@/dispatch/sdk/v1"
	"@go.module@/dispatch/sdk/v1/sdkv1connect"
)

const maxRequestBytes = 16_000_000

// Handler runs or resumes a function.
type Handler func(context.Context, *sdkv1.RunRequest) *sdkv1.RunResponse

// Function is a function that an endpoint hosts.
type Function struct {
	Name string
	Run  Handler
}

// Func makes a Function of a Go function, whose input and output Unmarshal and Marshal convert.
//
// The call is retried after an error, unless Fail made it. It is not after an input that cannot be
// converted to an I, which fails with STATUS_INVALID_ARGUMENT.
func Func[I, O any](name string, function func(context.Context, I) (O, error)) Function {
	return Function{name, func(ctx context.Context, request *sdkv1.RunRequest) *sdkv1.RunResponse {
		if request.GetPollResult() != nil {
			return Failed(Fail(sdkv1.Status_STATUS_INCOMPATIBLE_STATE, "%s was not suspended", name))
		}
		var input I
		if err := Unmarshal(request.GetInput(), &input); err != nil {
			return Failed(Fail(sdkv1.Status_STATUS_INVALID_ARGUMENT, "the input: %w", err))
		}
		output, err := function(ctx, input)
		if err != nil {
			return Failed(err)
		}
		packed, err := Marshal(output)
		if err != nil {
			return Failed(Fail(sdkv1.Status_STATUS_INVALID_RESPONSE, "the output: %w", err))
		}
		return Done(packed)
	}}
}

// Error is an error with a status.
type Error struct {
	Status sdkv1.Status
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without its status.
func (e *Error) Unwrap() error { return e.Err }

// Fail makes an error with a status: statuses such as PERMANENT_ERROR are final. The format and its
// arguments are those of fmt.Errorf, so %w wraps an error.
func Fail(status sdkv1.Status, format string, arguments ...any) error {
	return &Error{status, fmt.Errorf(format, arguments...)}
}

// Done is the answer of a function that succeeded.
func Done(output *anypb.Any) *sdkv1.RunResponse {
	return exit(sdkv1.Status_STATUS_OK, &sdkv1.CallResult{Output: output})
}

// Failed is the answer of a function that failed.
func Failed(err error) *sdkv1.RunResponse {
	status, kind := sdkv1.Status_STATUS_TEMPORARY_ERROR, fmt.Sprintf("%T", err)
	if own := (*Error)(nil); errors.As(err, &own) {
		status = own.Status
		kind = strings.TrimPrefix(status.String(), "STATUS_")
	} else if errors.Is(err, context.DeadlineExceeded) {
		status = sdkv1.Status_STATUS_TIMEOUT
	}
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	return exit(status, &sdkv1.CallResult{Error: &sdkv1.Error{Type: kind, Message: text}})
}

func exit(status sdkv1.Status, result *sdkv1.CallResult) *sdkv1.RunResponse {
	directive := &sdkv1.RunResponse_Exit{Exit: &sdkv1.Exit{Result: result}}
	return &sdkv1.RunResponse{Status: status, Directive: directive}
}

// Poll is the answer of a function that suspends itself: it is resumed with the results of all
// calls, or after an hour. The state comes back with them.
func Poll(state []byte, calls ...*sdkv1.Call) *sdkv1.RunResponse {
	count := int32(max(len(calls), 1))
	return &sdkv1.RunResponse{
		Status: sdkv1.Status_STATUS_OK,
		Directive: &sdkv1.RunResponse_Poll{Poll: &sdkv1.Poll{
			State: &sdkv1.Poll_CoroutineState{CoroutineState: state}, Calls: calls,
			MaxWait: durationpb.New(time.Hour), MinResults: count, MaxResults: count,
		}},
	}
}

// Result is the output of the call that a function waited for. The error is final if the call
// failed, or was not accepted.
func Result(resumed *sdkv1.PollResult) (*anypb.Any, error) {
	failed := resumed.GetError()
	results := resumed.GetResults()
	if failed == nil && len(results) == 0 {
		return nil, Fail(sdkv1.Status_STATUS_TIMEOUT, "the call did not finish in time")
	}
	if failed == nil {
		failed = results[0].GetError()
	}
	if failed != nil {
		return nil, Fail(sdkv1.Status_STATUS_PERMANENT_ERROR, "%s: %s", failed.GetType(), failed.GetMessage())
	}
	return results[0].GetOutput(), nil
}

// Endpoint hosts functions: an http.Handler for FunctionService.
type Endpoint struct {
	functions map[string]Handler
	handler   http.Handler
}

// NewEndpoint makes an endpoint. With a key, it verifies the signature of every request; nil
// disables that. The URL is the one that services call it by; it may be empty, unless a proxy
// changes the Host or the path of requests.
func NewEndpoint(key ed25519.PublicKey, ownURL string, functions ...Function) (*Endpoint, error) {
	endpoint := &Endpoint{functions: map[string]Handler{}}
	for _, function := range functions {
		if !functionName.MatchString(function.Name) || endpoint.functions[function.Name] != nil {
			return nil, fmt.Errorf("the name of a function is not valid, or taken: %q", function.Name)
		}
		endpoint.functions[function.Name] = function.Run
	}
	path, handler := sdkv1connect.NewFunctionServiceHandler(
		endpoint, connect.WithReadMaxBytes(maxRequestBytes),
	)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	endpoint.handler = mux
	if key == nil {
		return endpoint, nil
	}
	own, err := url.Parse(ownURL)
	if err != nil {
		return nil, errors.New("the URL of the endpoint is not valid")
	}
	endpoint.handler = verifying(mux, key, own)
	return endpoint, nil
}

// ServeHTTP answers a request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// Run runs or resumes a function.
func (e *Endpoint) Run(
	ctx context.Context, request *connect.Request[sdkv1.RunRequest],
) (response *connect.Response[sdkv1.RunResponse], err error) {
	name := request.Msg.GetFunction()
	run, ok := e.functions[name]
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no function %q", name))
	}
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("dispatch: function %s panicked: %v\n%s", name, reason, debug.Stack())
			response = connect.NewResponse(Failed(fmt.Errorf("panic: %v", reason)))
		}
	}()
	return connect.NewResponse(run(ctx, request.Msg)), nil
}

// ListenAndServe hosts functions, with the settings of the environment, until it fails:
// DISPATCH_ENDPOINT_ADDR (127.0.0.1:8000 by default), DISPATCH_VERIFICATION_KEY, without which
// requests are not verified, and DISPATCH_ENDPOINT_URL.
func ListenAndServe(functions ...Function) error {
	var key ed25519.PublicKey
	if text := os.Getenv("DISPATCH_VERIFICATION_KEY"); strings.TrimSpace(text) != "" {
		var err error
		if key, err = ParseVerificationKey(text); err != nil {
			return fmt.Errorf("DISPATCH_VERIFICATION_KEY: %w", err)
		}
	} else {
		log.Print("dispatch: requests are not verified: set DISPATCH_VERIFICATION_KEY")
	}
	endpoint, err := NewEndpoint(key, os.Getenv("DISPATCH_ENDPOINT_URL"), functions...)
	if err != nil {
		return err
	}
	address := os.Getenv("DISPATCH_ENDPOINT_ADDR")
	if address == "" {
		address = "127.0.0.1:8000"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	log.Printf("dispatch: listening on http://%s", listener.Addr())
	server := &http.Server{Handler: endpoint, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}
