// A Dispatch service of grpc-go with its defaults: it closes connections with too many pings.
//
// Its calls never finish, and it takes five seconds to record one. It prints its URL.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"

	callsv1 "dispatch-grpc.example/generated/go/dispatch/calls/v1"
	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
)

type calls struct {
	callsv1.UnimplementedCallServiceServer
}

func (calls) WaitCall(
	ctx context.Context, request *callsv1.WaitCallRequest,
) (*callsv1.WaitCallResponse, error) {
	select {
	case <-time.After(request.GetMaxWait().AsDuration()):
	case <-ctx.Done():
	}
	info := &callsv1.CallInfo{
		DispatchId: request.GetDispatchId(), State: callsv1.CallState_CALL_STATE_RUNNING,
	}
	return &callsv1.WaitCallResponse{Call: info}, nil
}

type dispatches struct {
	sdkv1.UnimplementedDispatchServiceServer
}

func (dispatches) Dispatch(
	_ context.Context, request *sdkv1.DispatchRequest,
) (*sdkv1.DispatchResponse, error) {
	time.Sleep(5 * time.Second)
	ids := make([]string, len(request.GetCalls()))
	for number := range ids {
		ids[number] = fmt.Sprint(number)
	}
	return &sdkv1.DispatchResponse{DispatchIds: ids}, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	callsv1.RegisterCallServiceServer(server, calls{})
	sdkv1.RegisterDispatchServiceServer(server, dispatches{})
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(server.Serve(listener))
}
