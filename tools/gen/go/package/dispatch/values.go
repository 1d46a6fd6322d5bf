// Package dispatch makes the stubs pleasant to use: calls and values, the API key of a client, and
// endpoints that host functions.
package dispatch

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "@go.module@/dispatch/sdk/python/v1" // known to Unmarshal by its import
)

// Decoders of protobuf stop at 100 messages inside each other. A list takes two of them, an object
// three.
const maxLevels, listLevels, structLevels = 90, 2, 3

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

func toValue(v reflect.Value, path string, levels int) (*structpb.Value, error) {
	if !v.IsValid() {
		return structpb.NewNullValue(), nil
	}
	if levels < 0 {
		return nil, fmt.Errorf("%s: lists and objects are nested too deep for protobuf", path)
	}
	if text, ok, err := asText(v.Interface()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	} else if ok {
		return toString(text, path)
	}
	if number, ok := wholeNumber(v.Interface()); ok {
		exact, _ := new(big.Float).SetInt(number).Float64()
		if back, _ := big.NewFloat(exact).Int(nil); back.Cmp(number) != 0 {
			return nil, fmt.Errorf("%s: a double cannot hold %s exactly; use a string", path, number)
		}
		return structpb.NewNumberValue(exact), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return structpb.NewBoolValue(v.Bool()), nil
	case reflect.Float32, reflect.Float64:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return nil, fmt.Errorf("%s: JSON has no %v", path, v.Float())
		}
		return structpb.NewNumberValue(v.Float()), nil
	case reflect.String:
		return toString(v.String(), path)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return structpb.NewNullValue(), nil
		}
		if v.Kind() == reflect.Pointer {
			levels-- // ends cycles of pointers
		}
		return toValue(v.Elem(), path, levels)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return structpb.NewNullValue(), nil
		}
		list := &structpb.ListValue{}
		for i := range v.Len() {
			item, err := toValue(v.Index(i), fmt.Sprintf("%s[%d]", path, i), levels-listLevels)
			if err != nil {
				return nil, err
			}
			list.Values = append(list.Values, item)
		}
		return structpb.NewListValue(list), nil
	case reflect.Map:
		return mapToValue(v, path, levels-structLevels)
	case reflect.Struct:
		return structToValue(v, path, levels-structLevels)
	}
	return nil, fmt.Errorf("%s: there is no form for a %s", path, v.Type())
}

// asText returns the text of types that JSON has as text: times, bytes, and all with MarshalText.
func asText(value any) (string, bool, error) {
	if data, ok := asBytes(value); ok {
		return base64.StdEncoding.EncodeToString(data), data != nil, nil
	}
	switch v := value.(type) {
	case time.Duration:
		return "", false, errors.New("a duration has no form in JSON; use a number or a string")
	case proto.Message:
		return "", false, fmt.Errorf("a message (%T) cannot be inside a list or an object", v)
	case encoding.TextMarshaler:
		if r := reflect.ValueOf(value); r.Kind() == reflect.Pointer && r.IsNil() {
			return "", false, nil
		}
		text, err := v.MarshalText()
		return string(text), err == nil, err
	}
	return "", false, nil
}

func toString(text, path string) (*structpb.Value, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s: %q is not valid UTF-8; use []byte", path, text)
	}
	return structpb.NewStringValue(text), nil
}

func mapToValue(v reflect.Value, path string, levels int) (*structpb.Value, error) {
	if v.IsNil() {
		return structpb.NewNullValue(), nil
	}
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: the keys must be strings, and not %s", path, v.Type().Key())
	}
	fields := map[string]*structpb.Value{}
	for _, key := range v.MapKeys() {
		if !utf8.ValidString(key.String()) {
			return nil, fmt.Errorf("%s: the key %q is not valid UTF-8", path, key)
		}
		item, err := toValue(v.MapIndex(key), path+"."+key.String(), levels)
		if err != nil {
			return nil, err
		}
		fields[key.String()] = item
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: fields}), nil
}

func structToValue(v reflect.Value, path string, levels int) (*structpb.Value, error) {
	fields := map[string]*structpb.Value{}
	for _, field := range reflect.VisibleFields(v.Type()) {
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || field.Tag.Get("json") == "-" {
			continue
		}
		value, err := v.FieldByIndexErr(field.Index)
		if err != nil || (strings.Contains(options, "omitempty") && value.IsZero()) {
			continue
		}
		name := field.Name
		if tag != "" {
			name = tag
		}
		if fields[name], err = toValue(value, path+"."+name, levels); err != nil {
			return nil, err
		}
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: fields}), nil
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
