package dispatch

import (
	"encoding"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Decoders of protobuf stop at 100 messages inside each other. A list takes two of them, an object
// three.
const maxLevels, listLevels, structLevels = 90, 2, 3

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
