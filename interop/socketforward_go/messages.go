package main

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The messages as the reference has them: nothing of what vmctl adds.

func field(name string, number int32, of string, repeated bool) *descriptorpb.FieldDescriptorProto {
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number}
	f.Label = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	if repeated {
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	f.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	if of != "" {
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		f.TypeName = proto.String(".spec." + of)
	}
	return f
}

func message(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: &name, Field: fields}
}

var file = func() protoreflect.FileDescriptor {
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("spec.proto"), Package: proto.String("spec"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("BindRequest", field("sockets", 1, "Socket", true)),
			message("Socket", field("forward_id", 1, "", false), field("socket_path", 2, "", false)),
			message("ConnectRequest", field("stream_id", 1, "", false), field("forward_id", 2, "", false)),
			message("ConnectResult", field("stream_id", 1, "", false), field("error", 2, "", false)),
		},
	}, nil)
	check(err)
	return fd
}()

func empty(name string) *dynamicpb.Message {
	return dynamicpb.NewMessage(file.Messages().ByName(protoreflect.Name(name)))
}

func set(m protoreflect.Message, name, text string) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOfString(text))
}

func get(m protoreflect.Message, name string) string {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name))).String()
}

func bindRequest(entries ...[2]string) proto.Message {
	m := empty("BindRequest")
	list := m.Mutable(m.Descriptor().Fields().ByName("sockets")).List()
	for _, entry := range entries {
		s := list.AppendMutable().Message()
		set(s, "forward_id", entry[0])
		set(s, "socket_path", entry[1])
	}
	return m
}

func result(id, text string) proto.Message {
	m := empty("ConnectResult")
	set(m, "stream_id", id)
	set(m, "error", text)
	return m
}
