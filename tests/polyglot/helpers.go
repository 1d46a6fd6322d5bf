// Command helpers uses the helpers of Go on what its input holds, for test_helpers.py.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"dispatch-grpc.example/generated/go/dispatch"
	sdkv1 "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
	"dispatch-grpc.example/generated/go/dispatch/sdk/v1/sdkv1connect"
)

type vector struct {
	Name    string `json:"name"`
	TypeURL string `json:"type_url"`
	Value   string `json:"value"`
	Form    any    `json:"form"`
}

type results struct {
	Vectors []vector          `json:"vectors"`
	Errors  map[string]string `json:"errors"`
	Typed   map[string]any    `json:"typed"`
	IDs     []string          `json:"ids"`
}

type order struct {
	Item    string            `json:"item"`
	Count   int               `json:"count"`
	Price   float64           `json:"price,omitempty"`
	When    time.Time         `json:"when"`
	Note    []byte            `json:"note"`
	Tags    []string          `json:"tags"`
	More    map[string]any    `json:"more"`
	Parent  *order            `json:"parent"`
	Hidden  string            `json:"-"`
	Strings map[string]string `json:"strings"`
}

type name string

type token []byte

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func form(value any, inside bool) any {
	switch v := value.(type) {
	case nil, bool, string:
		return v
	case int64:
		if inside {
			return form(float64(v), true)
		}
		return map[string]any{"int": fmt.Sprint(v)}
	case uint64:
		return map[string]any{"int": fmt.Sprint(v)}
	case float64:
		return map[string]any{"float": fmt.Sprintf("%016x", math.Float64bits(v))}
	case []byte:
		return map[string]any{"bytes": hex.EncodeToString(v)}
	case time.Time:
		return map[string]any{"time": fmt.Sprintf("%d %d", v.Unix(), v.Nanosecond())}
	case time.Duration:
		return form(durationpb.New(v), inside)
	case *durationpb.Duration:
		return map[string]any{"duration": fmt.Sprintf("%d %d", v.Seconds, v.Nanos)}
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, form(item, true))
		}
		return list
	case map[string]any:
		fields := map[string]any{}
		for key, item := range v {
			fields[key] = form(item, true)
		}
		return map[string]any{"object": fields}
	case proto.Message:
		return map[string]any{"message": string(v.ProtoReflect().Descriptor().FullName())}
	}
	log.Fatalf("%T is not a natural value", value)
	return nil
}

func main() {
	log.SetFlags(0)
	var vectors []vector
	if err := json.NewDecoder(os.Stdin).Decode(&vectors); err != nil {
		log.Fatal(err)
	}
	found := results{Errors: map[string]string{}, Typed: map[string]any{}}
	for _, given := range vectors {
		packed := &anypb.Any{TypeUrl: given.TypeURL, Value: must(hex.DecodeString(given.Value))}
		var natural any
		if err := dispatch.Unmarshal(packed, &natural); err != nil {
			log.Fatalf("%s: %v", given.Name, err)
		}
		again := must(dispatch.Marshal(natural))
		found.Vectors = append(found.Vectors, vector{
			given.Name, again.TypeUrl, hex.EncodeToString(again.Value), form(natural, false),
		})
	}
	refused(found.Errors)
	typed(found.Typed)
	found.IDs = dispatched()
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func refused(problems map[string]string) {
	deep := any("bottom")
	for range 46 {
		deep = []any{deep}
	}
	cycle := map[string]any{}
	cycle["again"] = cycle
	for name, value := range map[string]any{
		"nan in a list":       []any{1, math.NaN()},
		"int beyond a double": map[string]any{"n": []int64{1<<53 + 1}},
		"not a text":          []string{"a", "\xff"},
		"not a text alone":    "\xff",
		"too deep":            deep,
		"cycle":               cycle,
		"no form":             map[string]any{"f": func() {}},
		"keys":                map[int]string{1: "a"},
		"time":                time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if _, err := dispatch.Marshal(value); err != nil {
			problems[name] = err.Error()
		}
	}
	var text string
	var small int8
	var whole int
	for name, given := range map[string]struct {
		packed *anypb.Any
		into   any
	}{
		"unknown type":    {&anypb.Any{TypeUrl: "example.com/acme.Thing"}, &text},
		"empty any":       {&anypb.Any{}, &text},
		"malformed":       {&anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Int64Value", Value: []byte{0xff}}, &whole},
		"another type":    {must(dispatch.Marshal(23)), &text},
		"overflow":        {must(dispatch.Marshal(300)), &small},
		"not whole":       {must(dispatch.Marshal(1.5)), &whole},
		"nothing":         {must(dispatch.Marshal(nil)), &whole},
		"bytes as text":   {must(dispatch.Marshal([]byte("x"))), &text},
		"another message": {must(dispatch.Marshal(23)), &sdkv1.Call{}},
		"no pointer":      {must(dispatch.Marshal(23)), 23},
	} {
		if err := dispatch.Unmarshal(given.packed, given.into); err != nil {
			problems[name] = err.Error()
		}
	}
	for name, make := range map[string]func() (*sdkv1.Call, error){
		"function":   func() (*sdkv1.Call, error) { return dispatch.NewCall("http://a", "f\n", nil) },
		"endpoint":   func() (*sdkv1.Call, error) { return dispatch.NewCall("ftp://u:secret@a", "f", nil) },
		"host":       func() (*sdkv1.Call, error) { return dispatch.NewCall("http://", "f", nil) },
		"input":      func() (*sdkv1.Call, error) { return dispatch.NewCall("http://a", "f", make(chan int)) },
		"expiration": func() (*sdkv1.Call, error) { return dispatch.NewCall("http://a", "f", 1, dispatch.Expiration(-1)) },
	} {
		if _, err := make(); err != nil {
			problems[name] = err.Error()
		}
	}
}

func typed(found map[string]any) {
	given := order{
		Item: "x", Count: 2, When: time.Unix(0, 1000).UTC(), Note: []byte{0xff}, Tags: []string{"a"},
		More: map[string]any{"n": nil}, Parent: &order{Item: "y"}, Hidden: "secret",
	}
	packed := must(dispatch.Marshal(given))
	var natural any
	var back order
	for _, into := range []any{&natural, &back} {
		if err := dispatch.Unmarshal(packed, into); err != nil {
			log.Fatal(err)
		}
	}
	found["token inside"] = form(must(fromAny(must(dispatch.Marshal([]any{token("x")})))), false)
	wrapped := dispatch.Fail(sdkv1.Status_STATUS_TIMEOUT, "the bank: %w", context.Canceled)
	found["wrapped"] = []any{errors.Is(wrapped, context.Canceled), dispatch.Failed(wrapped).GetStatus().String()}
	given.Hidden = ""
	found["order"] = form(natural, false)
	found["round trip"] = string(must(json.Marshal(back))) == string(must(json.Marshal(given)))
	number := 23
	for name, value := range map[string]any{
		"pointer": &number, "nil pointer": (*int)(nil), "named": name("Ada"), "float32": float32(1.5),
		"token": token("x"), "ip": net.IPv4(127, 0, 0, 1), "url": must(http.NewRequest("GET", "http://a", nil)).URL.Host,
	} {
		found[name] = must(dispatch.Marshal(value)).TypeUrl
	}
	var floats []float64
	var pointer *int8
	if dispatch.Unmarshal(must(dispatch.Marshal([]any{1, 2.5})), &floats) != nil ||
		dispatch.Unmarshal(must(dispatch.Marshal(7)), &pointer) != nil {
		log.Fatal("typed values are not read")
	}
	found["floats"], found["int8"] = floats, *pointer
}

func fromAny(packed *anypb.Any) (natural any, err error) {
	err = dispatch.Unmarshal(packed, &natural)
	return natural, err
}

func dispatched() []string {
	url, key := os.Getenv("DISPATCH_API_URL"), os.Getenv("DISPATCH_API_KEY")
	call := must(dispatch.NewCall("http://example.com", "greet", map[string]any{"name": "Ada"},
		dispatch.Expiration(1500*time.Millisecond), dispatch.Version("v1")))
	message := &sdkv1.DispatchRequest{Calls: []*sdkv1.Call{call}}
	client := sdkv1connect.NewDispatchServiceClient(http.DefaultClient, url, dispatch.WithAPIKey(key))
	byConnect := must(client.Dispatch(context.Background(), connect.NewRequest(message)))
	connection := must(grpc.NewClient(strings.TrimPrefix(url, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), dispatch.WithGRPCAPIKey(key)))
	defer connection.Close()
	byGRPC := must(sdkv1.NewDispatchServiceClient(connection).Dispatch(context.Background(), message))
	return append(byConnect.Msg.DispatchIds, byGRPC.DispatchIds...)
}
