package dispatch

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	sdkv1 "@go.module@/dispatch/sdk/v1"
)

var functionName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_<>.]*$`)

// CallOption sets a field of a call.
type CallOption func(*sdkv1.Call)

// Expiration sets the longest time that the call may take.
func Expiration(after time.Duration) CallOption {
	return func(call *sdkv1.Call) { call.Expiration = durationpb.New(after) }
}

// Version sets the version of the application that the call is meant for.
func Version(version string) CallOption {
	return func(call *sdkv1.Call) { call.Version = version }
}

// NewCall makes a call of a function with an input, which Marshal converts.
//
// The endpoint is the URL of the function's host: http://, https://, bridge:// or arn:aws:lambda.
func NewCall(
	endpoint, function string, input any, options ...CallOption,
) (*sdkv1.Call, error) {
	if !functionName.MatchString(function) {
		return nil, fmt.Errorf("function: a name of letters, digits, _, <, > and . is required; got %q",
			function)
	}
	if err := checkEndpoint(endpoint); err != nil {
		return nil, err
	}
	packed, err := Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	call := &sdkv1.Call{Endpoint: endpoint, Function: function, Input: packed}
	for _, option := range options {
		option(call)
	}
	if after := call.GetExpiration().AsDuration(); after < 0 {
		return nil, fmt.Errorf("expiration: 0 or more is required; got %s", after)
	}
	return call, nil
}

func checkEndpoint(endpoint string) error {
	const rule = "an http://, https://, bridge:// or arn:aws:lambda URI is required"
	if strings.HasPrefix(endpoint, "arn:aws:lambda") {
		return nil
	}
	for _, scheme := range []string{"http://", "https://", "bridge://"} {
		if strings.HasPrefix(endpoint, scheme) {
			if parsed, err := url.Parse(endpoint); err == nil && parsed.Host != "" {
				return nil
			}
		}
	}
	return fmt.Errorf("endpoint: %s", rule) // the URI may hold a password: it is not shown
}

// WithAPIKey is an option for clients of Connect: it sends the API key with each request, and an
// idempotency key where the request has none.
func WithAPIKey(key string) connect.ClientOption {
	intercept := func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			request.Header().Set("Authorization", "Bearer "+key)
			if request.Header().Get("Idempotency-Key") == "" {
				request.Header().Set("Idempotency-Key", rand.Text())
			}
			return next(ctx, request)
		}
	}
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(intercept))
}

// WithGRPCAPIKey is WithAPIKey for clients of gRPC.
func WithGRPCAPIKey(key string) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, request, response any, connection *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
		if given, _ := metadata.FromOutgoingContext(ctx); len(given.Get("idempotency-key")) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", rand.Text())
		}
		return invoke(ctx, method, request, response, connection, options...)
	})
}
