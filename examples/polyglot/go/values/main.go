// Command values reads value vectors from its input, and writes for each what Go makes of it:
// the bytes after decoding and encoding them, the bytes from the JSON form, and the JSON form.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/emptypb" // known to Any by its import
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	_ "dispatch-grpc.example/generated/go/dispatch/sdk/python/v1"
	_ "dispatch-grpc.example/generated/go/dispatch/sdk/v1"
)

type vector struct {
	Name    string          `json:"name"`
	TypeURL string          `json:"type_url"`
	Value   string          `json:"value"`
	JSON    json.RawMessage `json:"json"`
}

type result struct {
	Name   string          `json:"name"`
	Binary string          `json:"binary"`
	Parsed string          `json:"parsed"`
	JSON   json.RawMessage `json:"json"`
}

func main() {
	log.SetFlags(0)
	var vectors []vector
	if err := json.NewDecoder(os.Stdin).Decode(&vectors); err != nil {
		log.Fatal(err)
	}
	results := make([]result, 0, len(vectors))
	for _, vector := range vectors {
		made, err := transcode(vector)
		if err != nil {
			log.Fatalf("%s: %v", vector.Name, err)
		}
		results = append(results, made)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}

func transcode(vector vector) (result, error) {
	made := result{Name: vector.Name}
	data, err := hex.DecodeString(vector.Value)
	if err != nil {
		return made, err
	}
	given := &anypb.Any{TypeUrl: vector.TypeURL, Value: data}
	message, err := given.UnmarshalNew()
	if err != nil {
		return made, err
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		return made, err
	}
	parsed := &anypb.Any{}
	if err := protojson.Unmarshal(vector.JSON, parsed); err != nil {
		return made, fmt.Errorf("from JSON: %w", err)
	}
	if made.JSON, err = protojson.Marshal(given); err != nil {
		return made, err
	}
	made.Binary, made.Parsed = hex.EncodeToString(encoded), hex.EncodeToString(parsed.Value)
	return made, nil
}
