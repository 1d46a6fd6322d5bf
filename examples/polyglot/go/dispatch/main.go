// Command dispatch is the guide "calling remote functions" in Go: a call and a batch, by gRPC
// and by Connect.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
	"dispatch-grpc.example/generated/go/dispatch/sdk/v1/sdkv1connect"
)

func main() {
	log.SetFlags(0)
	apiURL, apiKey := os.Getenv("DISPATCH_API_URL"), os.Getenv("DISPATCH_API_KEY")
	if apiKey == "" {
		log.Fatal("set DISPATCH_API_KEY")
	}
	if apiURL == "" {
		apiURL = "https://api.dispatch.run"
	}
	if err := run(apiURL, apiKey); err != nil {
		log.Fatal(err)
	}
}

// dispatchFunc sends one request, with metadata, and returns the ids.
type dispatchFunc func(context.Context, *sdkv1.DispatchRequest, map[string]string) ([]string, error)

func run(apiURL, apiKey string) error {
	byGRPC, closeGRPC, err := overGRPC(apiURL)
	if err != nil {
		return err
	}
	defer closeGRPC()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, protocol := range []struct {
		name     string
		dispatch dispatchFunc
	}{{"grpc", byGRPC}, {"connect", overConnect(apiURL)}} {
		for _, request := range []struct {
			name  string
			build func() (*sdkv1.DispatchRequest, error)
		}{{"call", oneCall}, {"batch", batch}} {
			message, err := request.build()
			if err != nil {
				return err
			}
			ids, err := protocol.dispatch(ctx, message, map[string]string{
				"authorization": "Bearer " + apiKey,
				// Chosen once for a request, and kept when it is sent again.
				"idempotency-key": rand.Text(),
			})
			if err != nil {
				return fmt.Errorf("%s: %w", protocol.name, err)
			}
			if len(ids) != len(message.Calls) {
				return errors.New("the service answered with another number of ids")
			}
			fmt.Printf("%s %s: %s\n", protocol.name, request.name, strings.Join(ids, " "))
		}
	}
	return nil
}

// oneCall is the call of the guide.
func oneCall() (*sdkv1.DispatchRequest, error) {
	call, err := newCall("myFunction", wrapperspb.Int64(23))
	if err != nil {
		return nil, err
	}
	call.Expiration = durationpb.New(90*time.Second + 500*time.Millisecond)
	call.Version = "go"
	return &sdkv1.DispatchRequest{Calls: []*sdkv1.Call{call}}, nil
}

// batch is the batch of the guide: all of its calls are recorded, or none.
func batch() (*sdkv1.DispatchRequest, error) {
	request := &sdkv1.DispatchRequest{}
	for _, name := range []string{"Ada", "Grace"} {
		input, err := structpb.NewValue(map[string]any{"name": name})
		if err != nil {
			return nil, err
		}
		call, err := newCall("greet", input)
		if err != nil {
			return nil, err
		}
		request.Calls = append(request.Calls, call)
	}
	return request, nil
}

func newCall(function string, input proto.Message) (*sdkv1.Call, error) {
	packed, err := anypb.New(input)
	if err != nil {
		return nil, err
	}
	return &sdkv1.Call{Endpoint: "http://example.com", Function: function, Input: packed}, nil
}

func overGRPC(apiURL string) (dispatchFunc, func() error, error) {
	parsed, err := url.Parse(apiURL)
	if err != nil {
		return nil, nil, err
	}
	secure, target := credentials.NewTLS(nil), parsed.Host
	if parsed.Scheme == "http" { // of a service on this machine
		secure = insecure.NewCredentials()
	} else if parsed.Port() == "" {
		target += ":443"
	}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(secure))
	if err != nil {
		return nil, nil, err
	}
	client := sdkv1.NewDispatchServiceClient(connection)
	return func(
		ctx context.Context, request *sdkv1.DispatchRequest, headers map[string]string,
	) ([]string, error) {
		ctx = metadata.NewOutgoingContext(ctx, metadata.New(headers))
		response, err := client.Dispatch(ctx, request)
		return response.GetDispatchIds(), err
	}, connection.Close, nil
}

func overConnect(apiURL string) dispatchFunc {
	client := sdkv1connect.NewDispatchServiceClient(http.DefaultClient, apiURL)
	return func(
		ctx context.Context, message *sdkv1.DispatchRequest, headers map[string]string,
	) ([]string, error) {
		request := connect.NewRequest(message)
		for key, value := range headers {
			request.Header().Set(key, value)
		}
		response, err := client.Dispatch(ctx, request)
		if err != nil {
			return nil, err
		}
		return response.Msg.GetDispatchIds(), nil
	}
}
