// Command endpoint hosts one function, `greet`, which a Dispatch service calls: it takes
// {"name": …} and returns a text.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
	"dispatch-grpc.example/generated/go/dispatch/sdk/v1/sdkv1connect"
)

type endpoint struct{}

// Run runs a function, by its name.
func (endpoint) Run(
	_ context.Context, request *connect.Request[sdkv1.RunRequest],
) (*connect.Response[sdkv1.RunResponse], error) {
	if name := request.Msg.GetFunction(); name != "greet" {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no function %q", name))
	}
	result, err := greet(request.Msg.GetInput())
	if err != nil {
		return finished(sdkv1.Status_STATUS_INVALID_ARGUMENT, &sdkv1.CallResult{
			Error: &sdkv1.Error{Type: fmt.Sprintf("%T", err), Message: err.Error()},
		}), nil
	}
	output, err := anypb.New(result)
	if err != nil {
		return nil, err
	}
	return finished(sdkv1.Status_STATUS_OK, &sdkv1.CallResult{Output: output}), nil
}

func finished(status sdkv1.Status, result *sdkv1.CallResult) *connect.Response[sdkv1.RunResponse] {
	return connect.NewResponse(&sdkv1.RunResponse{
		Status:    status,
		Directive: &sdkv1.RunResponse_Exit{Exit: &sdkv1.Exit{Result: result}},
	})
}

func greet(input *anypb.Any) (*wrapperspb.StringValue, error) {
	value := &structpb.Value{}
	if err := input.UnmarshalTo(value); err != nil {
		return nil, err
	}
	name, given := value.GetStructValue().GetFields()["name"]
	if !given {
		return nil, fmt.Errorf("the input has no name")
	}
	return wrapperspb.String("Hello, " + name.GetStringValue() + ", from Go"), nil
}

func main() {
	address := os.Getenv("DISPATCH_ENDPOINT_ADDR")
	if address == "" {
		address = "127.0.0.1:8000"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	handlers := http.NewServeMux()
	handlers.Handle(sdkv1connect.NewFunctionServiceHandler(endpoint{}))
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, handlers))
}
