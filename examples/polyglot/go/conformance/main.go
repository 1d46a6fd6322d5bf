// Command conformance hosts the functions that `dispatch-grpc conformance` calls.
package main

import (
	"context"
	"errors"
	"log"

	"dispatch-grpc.example/generated/go/dispatch"
	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
)

func echo(_ context.Context, input any) (any, error) { return input, nil }

func fail(_ context.Context, status string) (any, error) {
	return nil, dispatch.Fail(sdkv1.Status(sdkv1.Status_value["STATUS_"+status]), "as was asked")
}

func crash(_ context.Context, text string) (any, error) { return nil, errors.New(text) }

func relay(_ context.Context, request *sdkv1.RunRequest) *sdkv1.RunResponse {
	resumed, call := request.GetPollResult(), &sdkv1.Call{}
	if resumed == nil {
		if err := dispatch.Unmarshal(request.GetInput(), call); err != nil {
			return dispatch.Failed(dispatch.Fail(sdkv1.Status_STATUS_INVALID_ARGUMENT, "%w", err))
		}
		return dispatch.Poll(nil, call)
	}
	output, err := dispatch.Result(resumed)
	if err != nil {
		return dispatch.Failed(err)
	}
	return dispatch.Done(output)
}

func main() {
	log.Fatal(dispatch.ListenAndServe(dispatch.Func("echo", echo), dispatch.Func("fail", fail),
		dispatch.Func("crash", crash), dispatch.Function{Name: "relay", Run: relay}))
}
