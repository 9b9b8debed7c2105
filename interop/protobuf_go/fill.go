package main

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A value other than the default, different for each field.
func scalar(field protoreflect.FieldDescriptor, more int) protoreflect.Value {
	n := int64(field.Number()) + int64(more)
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(-n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(math.MaxUint32 - uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(math.MinInt64 + n)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64 - uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n) / 4)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) / 3)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 255, byte(n)})
	}
	return protoreflect.ValueOfString(fmt.Sprintf("%s \u00e9 %d", field.Name(), n))
}

func fillMap(field protoreflect.FieldDescriptor, values protoreflect.Map, depth int) {
	for i := 0; i < 3; i++ {
		key := scalar(field.MapKey(), i).MapKey()
		if field.MapValue().Message() == nil {
			values.Set(key, scalar(field.MapValue(), i))
			continue
		}
		value := values.NewValue()
		fill(value.Message(), depth-1)
		values.Set(key, value)
	}
}

func fillList(field protoreflect.FieldDescriptor, values protoreflect.List, depth int) {
	for i := 0; i < 2; i++ {
		if field.Message() == nil {
			values.Append(scalar(field, i))
			continue
		}
		value := values.NewElement()
		fill(value.Message(), depth-1)
		values.Append(value)
	}
}

// Sets all fields of a message; of a oneof the last one stays.
func fill(message protoreflect.Message, depth int) {
	fields := message.Descriptor().Fields()
	for i := 0; depth > 0 && i < fields.Len(); i++ {
		field := fields.Get(i)
		switch {
		case field.IsMap():
			fillMap(field, message.Mutable(field).Map(), depth)
		case field.IsList():
			fillList(field, message.Mutable(field).List(), depth)
		case field.Message() != nil:
			fill(message.Mutable(field).Message(), depth-1)
		default:
			message.Set(field, scalar(field, 0))
		}
	}
}
