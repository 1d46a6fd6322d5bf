// An endpoint that is unavailable at first. It prints its URL, then the traceparent of each request.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
	"dispatch-grpc.example/generated/go/dispatch/sdk/v1/sdkv1connect"
)

type endpoint struct{ runs atomic.Int32 }

func (e *endpoint) Run(
	_ context.Context, request *connect.Request[sdkv1.RunRequest],
) (*connect.Response[sdkv1.RunResponse], error) {
	fmt.Println(request.Header().Get("traceparent"))
	if e.runs.Add(1) == 1 {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("not yet"))
	}
	output, err := anypb.New(wrapperspb.String("paid"))
	if err != nil {
		return nil, err
	}
	exit := &sdkv1.Exit{Result: &sdkv1.CallResult{Output: output}}
	return connect.NewResponse(&sdkv1.RunResponse{
		Status: sdkv1.Status_STATUS_OK, Directive: &sdkv1.RunResponse_Exit{Exit: exit},
	}), nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(sdkv1connect.NewFunctionServiceHandler(&endpoint{}))
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}
