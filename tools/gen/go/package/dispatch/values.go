// Package dispatch makes the stubs pleasant to use: calls and values, the API key of a client, and
// endpoints that host functions.
package dispatch

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "@go.module@/dispatch/sdk/python/v1" // known to Unmarshal by its import
)

// Marshal converts a value to an Any.
//
// nil, booleans, numbers, strings, []byte, time.Time and time.Duration become the well-known
// message of their type, and messages stay what they are. Everything else, such as slices, maps and
// structs, becomes a google.protobuf.Value, with the names that encoding/json would use. Inside one
// there are the types of JSON only: a number that a double cannot hold is an error.
func Marshal(value any) (*anypb.Any, error) {
	message, err := toMessage(value)
	if err != nil {
		return nil, err
	}
	if packed, ok := message.(*anypb.Any); ok {
		return packed, nil
	}
	packed := &anypb.Any{}
	return packed, anypb.MarshalFrom(packed, message, proto.MarshalOptions{Deterministic: true})
}

func toMessage(value any) (proto.Message, error) {
	switch v := value.(type) {
	case nil:
		return &emptypb.Empty{}, nil
	case proto.Message:
		return v, nil
	case time.Time:
		stamp := timestamppb.New(v)
		return stamp, stamp.CheckValid()
	case time.Duration:
		return durationpb.New(v), nil
	}
	if data, ok := asBytes(value); ok {
		return wrapperspb.Bytes(data), nil
	}
	if number, ok := wholeNumber(value); ok {
		if number.IsInt64() {
			return wrapperspb.Int64(number.Int64()), nil
		}
		return wrapperspb.UInt64(number.Uint64()), nil
	}
	if number, ok := value.(float32); ok {
		return wrapperspb.Double(float64(number)), nil
	}
	if number, ok := value.(float64); ok { // NaN and infinities are allowed here only
		return wrapperspb.Double(number), nil
	}
	converted, err := toValue(reflect.ValueOf(value), "$", maxLevels)
	if err != nil {
		return nil, err
	}
	switch kind := converted.GetKind().(type) { // of a named type, a pointer, or one with a text
	case *structpb.Value_NullValue:
		return &emptypb.Empty{}, nil
	case *structpb.Value_BoolValue:
		return wrapperspb.Bool(kind.BoolValue), nil
	case *structpb.Value_StringValue:
		return wrapperspb.String(kind.StringValue), nil
	case *structpb.Value_NumberValue:
		return toMessage(reflect.Indirect(reflect.ValueOf(value)).Interface())
	}
	return converted, nil
}

// asBytes returns a slice of bytes of any type, unless the type has a text.
func asBytes(value any) ([]byte, bool) {
	v := reflect.ValueOf(value)
	_, hasText := value.(encoding.TextMarshaler)
	if hasText || v.Kind() != reflect.Slice || v.Type().Elem().Kind() != reflect.Uint8 {
		return nil, false
	}
	return v.Bytes(), true
}

// wholeNumber returns an integer of any type.
func wholeNumber(value any) (*big.Int, bool) {
	v := reflect.ValueOf(value)
	switch {
	case v.CanInt():
		return big.NewInt(v.Int()), true
	case v.CanUint():
		return new(big.Int).SetUint64(v.Uint()), true
	}
	return nil, false
}

// Unmarshal converts an Any to a value of the type that `into` points to.
//
// Into an `any` it puts the natural value: nil, bool, int64, uint64, float64, string, []byte,
// time.Time, time.Duration, []any or map[string]any; a duration beyond 292 years and all other
// messages are returned as messages. Into any other type it converts as encoding/json does.
// Everything that does not fit is an error.
func Unmarshal(packed *anypb.Any, into any) error {
	if message, ok := into.(proto.Message); ok {
		return packed.UnmarshalTo(message)
	}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("a pointer is needed to unmarshal into, and not %T", into)
	}
	message, err := packed.UnmarshalNew()
	if err != nil {
		return err
	}
	natural, err := fromMessage(message)
	if err != nil {
		return err
	}
	return assign(natural, target.Elem())
}

func assign(natural any, target reflect.Value) error {
	v := reflect.ValueOf(natural)
	kind := target.Kind()
	switch {
	case natural == nil && kind != reflect.Interface && kind != reflect.Pointer &&
		kind != reflect.Map && kind != reflect.Slice:
		return fmt.Errorf("there is no value, and a %s is needed", target.Type())
	case natural == nil:
		target.SetZero()
		return nil
	case v.Type().AssignableTo(target.Type()):
		target.Set(v)
		return nil
	case kind == reflect.Pointer:
		target.Set(reflect.New(target.Type().Elem()))
		return assign(natural, target.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8, // not as base64
		v.Type() == reflect.TypeFor[time.Duration](), v.Type() == reflect.TypeFor[time.Time]():
		return fmt.Errorf("there is a %s, and a %s is needed", v.Type(), target.Type())
	case v.Kind() == reflect.Float64 && (kind == reflect.Float32 || kind == reflect.Float64):
		target.SetFloat(v.Float()) // NaN and infinities too, which JSON does not have
		return nil
	}
	text, err := json.Marshal(natural)
	if err != nil {
		return fmt.Errorf("a %T cannot be converted to a %s: %w", natural, target.Type(), err)
	}
	return json.Unmarshal(text, target.Addr().Interface())
}

func fromMessage(message proto.Message) (any, error) {
	switch m := message.(type) {
	case *emptypb.Empty:
		return nil, nil
	case *wrapperspb.BoolValue:
		return m.Value, nil
	case *wrapperspb.Int64Value:
		return m.Value, nil
	case *wrapperspb.Int32Value:
		return int64(m.Value), nil
	case *wrapperspb.UInt64Value:
		return m.Value, nil
	case *wrapperspb.UInt32Value:
		return int64(m.Value), nil
	case *wrapperspb.DoubleValue:
		return m.Value, nil
	case *wrapperspb.FloatValue:
		return float64(m.Value), nil
	case *wrapperspb.StringValue:
		return m.Value, nil
	case *wrapperspb.BytesValue:
		return append([]byte{}, m.Value...), nil
	case *timestamppb.Timestamp:
		return m.AsTime(), m.CheckValid()
	case *durationpb.Duration:
		if duration := m.AsDuration(); proto.Equal(durationpb.New(duration), m) {
			return duration, nil
		}
		return m, m.CheckValid()
	case *structpb.Value:
		return fromValue(m)
	case *structpb.Struct:
		return fromValue(structpb.NewStructValue(m))
	case *structpb.ListValue:
		return fromValue(structpb.NewListValue(m))
	}
	return message, nil
}

func fromValue(value *structpb.Value) (any, error) {
	switch kind := value.GetKind().(type) {
	case *structpb.Value_NullValue:
		return nil, nil
	case *structpb.Value_BoolValue:
		return kind.BoolValue, nil
	case *structpb.Value_StringValue:
		return kind.StringValue, nil
	case *structpb.Value_NumberValue:
		number := kind.NumberValue
		if number == math.Trunc(number) && math.Abs(number) <= 1<<53 &&
			!(number == 0 && math.Signbit(number)) {
			return int64(number), nil
		}
		return number, nil
	case *structpb.Value_ListValue:
		list := make([]any, len(kind.ListValue.GetValues()))
		for i, item := range kind.ListValue.GetValues() {
			var err error
			if list[i], err = fromValue(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case *structpb.Value_StructValue:
		fields := map[string]any{}
		for name, item := range kind.StructValue.GetFields() {
			var err error
			if fields[name], err = fromValue(item); err != nil {
				return nil, err
			}
		}
		return fields, nil
	}
	return nil, errors.New("a google.protobuf.Value is empty")
}
