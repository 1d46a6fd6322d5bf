package example;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Any;
import com.google.protobuf.BoolValue;
import com.google.protobuf.ByteString;
import com.google.protobuf.BytesValue;
import com.google.protobuf.DoubleValue;
import com.google.protobuf.Duration;
import com.google.protobuf.Empty;
import com.google.protobuf.Int64Value;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.StringValue;
import com.google.protobuf.Timestamp;
import com.google.protobuf.TypeRegistry;
import com.google.protobuf.UInt64Value;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import run.dispatch.sdk.python.v1.Pickled;
import run.dispatch.sdk.v1.Call;
import run.dispatch.sdk.v1.Poll;
import run.dispatch.sdk.v1.RunResponse;

/**
 * Reads value vectors from its input, and writes for each what Java makes of it: the bytes after
 * decoding and encoding them, the bytes from the JSON form, and the JSON form.
 */
public final class Values {
  private static final List<Message> TYPES =
      List.of(
          Empty.getDefaultInstance(),
          BoolValue.getDefaultInstance(),
          Int64Value.getDefaultInstance(),
          UInt64Value.getDefaultInstance(),
          DoubleValue.getDefaultInstance(),
          StringValue.getDefaultInstance(),
          BytesValue.getDefaultInstance(),
          Timestamp.getDefaultInstance(),
          Duration.getDefaultInstance(),
          Value.getDefaultInstance(),
          Call.getDefaultInstance(),
          Poll.getDefaultInstance(),
          RunResponse.getDefaultInstance(),
          Pickled.getDefaultInstance());
  private static final TypeRegistry REGISTRY = registry();

  private Values() {}

  public static void main(String[] args) {
    JsonArray results = new JsonArray();
    InputStreamReader input = new InputStreamReader(System.in, StandardCharsets.UTF_8);
    for (JsonElement element : JsonParser.parseReader(input).getAsJsonArray()) {
      JsonObject vector = element.getAsJsonObject();
      try {
        results.add(transcode(vector));
      } catch (InvalidProtocolBufferException problem) {
        throw new IllegalStateException(vector.get("name").getAsString(), problem);
      }
    }
    new PrintStream(System.out, true, StandardCharsets.UTF_8).println(results);
  }

  private static JsonObject transcode(JsonObject vector) throws InvalidProtocolBufferException {
    Any given =
        Any.newBuilder()
            .setTypeUrl(vector.get("type_url").getAsString())
            .setValue(bytes(vector.get("value").getAsString()))
            .build();
    Any.Builder parsed = Any.newBuilder();
    JsonFormat.parser().usingTypeRegistry(REGISTRY).merge(vector.get("json").toString(), parsed);
    JsonObject result = new JsonObject();
    result.add("name", vector.get("name"));
    result.addProperty("binary", hex(decode(given).toByteString()));
    result.addProperty("parsed", hex(parsed.getValue()));
    String json = JsonFormat.printer().usingTypeRegistry(REGISTRY).print(given);
    result.add("json", JsonParser.parseString(json));
    return result;
  }

  /** Decodes by the generated class. */
  private static Message decode(Any any) throws InvalidProtocolBufferException {
    for (Message type : TYPES) {
      if (any.getTypeUrl().endsWith("/" + type.getDescriptorForType().getFullName())) {
        return type.getParserForType().parseFrom(any.getValue());
      }
    }
    throw new InvalidProtocolBufferException("no class for " + any.getTypeUrl());
  }

  private static TypeRegistry registry() {
    TypeRegistry.Builder builder = TypeRegistry.newBuilder();
    TYPES.forEach(type -> builder.add(type.getDescriptorForType()));
    return builder.build();
  }

  private static ByteString bytes(String hex) {
    byte[] data = new byte[hex.length() / 2];
    for (int i = 0; i < data.length; i++) {
      data[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return ByteString.copyFrom(data);
  }

  private static String hex(ByteString data) {
    StringBuilder text = new StringBuilder();
    for (byte value : data.toByteArray()) {
      text.append(String.format("%02x", value));
    }
    return text.toString();
  }
}
