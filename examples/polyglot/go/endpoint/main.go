// Command endpoint hosts two functions, which a Dispatch service calls: `greet` takes {"name": …} and
// returns a text, `relay` takes a Call of any function, waits for it and returns its result.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
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
	switch name := request.Msg.GetFunction(); name {
	case "greet":
	case "relay":
		return connect.NewResponse(relay(request.Msg)), nil
	default:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no function %q", name))
	}
	text, err := greet(request.Msg.GetInput())
	if err != nil {
		return connect.NewResponse(refused(err)), nil
	}
	output, err := anypb.New(text)
	if err != nil {
		return nil, err
	}
	result := &sdkv1.CallResult{Output: output}
	return connect.NewResponse(finished(sdkv1.Status_STATUS_OK, result)), nil
}

// relay suspends itself with the call that it was given, and ends as that call did.
func relay(request *sdkv1.RunRequest) *sdkv1.RunResponse {
	poll := &sdkv1.Poll{MaxWait: durationpb.New(time.Hour), MinResults: 1, MaxResults: 1}
	if resumed := request.GetPollResult(); resumed == nil {
		call := &sdkv1.Call{}
		if err := request.GetInput().UnmarshalTo(call); err != nil {
			return refused(err)
		}
		poll.Calls = []*sdkv1.Call{call}
	} else if failed := resumed.GetError(); failed != nil { // the call was not accepted
		return finished(sdkv1.Status_STATUS_PERMANENT_ERROR, &sdkv1.CallResult{Error: failed})
	} else if results := resumed.GetResults(); len(results) > 0 {
		if results[0].GetError() != nil {
			return finished(sdkv1.Status_STATUS_PERMANENT_ERROR, results[0])
		}
		return finished(sdkv1.Status_STATUS_OK, results[0])
	} // or else MaxWait is over: wait on
	return &sdkv1.RunResponse{
		Status: sdkv1.Status_STATUS_OK, Directive: &sdkv1.RunResponse_Poll{Poll: poll},
	}
}

func refused(err error) *sdkv1.RunResponse {
	return finished(sdkv1.Status_STATUS_INVALID_ARGUMENT, &sdkv1.CallResult{
		Error: &sdkv1.Error{Type: fmt.Sprintf("%T", err), Message: err.Error()},
	})
}

func finished(status sdkv1.Status, result *sdkv1.CallResult) *sdkv1.RunResponse {
	return &sdkv1.RunResponse{
		Status: status, Directive: &sdkv1.RunResponse_Exit{Exit: &sdkv1.Exit{Result: result}},
	}
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
