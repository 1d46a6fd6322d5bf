package example;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.Int64Value;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import run.dispatch.sdk.v1.Call;
import run.dispatch.sdk.v1.DispatchRequest;
import run.dispatch.sdk.v1.DispatchServiceGrpc;

/** The guide "calling remote functions" in Java: a call and a batch, by gRPC. */
public final class Dispatch {
  private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
  private static final Metadata.Key<String> IDEMPOTENCY_KEY = key("idempotency-key");

  private final DispatchServiceGrpc.DispatchServiceBlockingStub stub;
  private final String apiKey;

  private Dispatch(ManagedChannel channel, String apiKey) {
    this.stub = DispatchServiceGrpc.newBlockingStub(channel);
    this.apiKey = apiKey;
  }

  public static void main(String[] args) {
    Map<String, String> env = System.getenv();
    String apiKey = env.getOrDefault("DISPATCH_API_KEY", "");
    if (apiKey.isEmpty()) {
      throw new IllegalStateException("set DISPATCH_API_KEY");
    }
    URI url = URI.create(env.getOrDefault("DISPATCH_API_URL", "https://api.dispatch.run"));
    boolean secure = url.getScheme().equals("https"); // http: of a service on this machine
    ChannelCredentials credentials =
        secure ? TlsChannelCredentials.create() : InsecureChannelCredentials.create();
    String target = url.getPort() < 0 ? url.getHost() + ":443" : url.getAuthority();
    ManagedChannel channel = Grpc.newChannelBuilder(target, credentials).build();
    try {
      Dispatch dispatch = new Dispatch(channel, apiKey);
      System.out.println("grpc call: " + String.join(" ", dispatch.send(oneCall())));
      System.out.println("grpc batch: " + String.join(" ", dispatch.send(batch())));
    } finally {
      channel.shutdownNow();
    }
  }

  /** Sends one request, and returns the ids. */
  private List<String> send(DispatchRequest request) {
    Metadata headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + apiKey);
    // Chosen once for a request, and kept when it is sent again.
    headers.put(IDEMPOTENCY_KEY, UUID.randomUUID().toString());
    List<String> ids =
        stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
            .withDeadlineAfter(10, TimeUnit.SECONDS)
            .dispatch(request)
            .getDispatchIdsList();
    if (ids.size() != request.getCallsCount()) {
      throw new IllegalStateException("the service answered with another number of ids");
    }
    return ids;
  }

  /** The call of the guide. */
  private static DispatchRequest oneCall() {
    Call.Builder call =
        newCall("myFunction", Int64Value.of(23))
            .setExpiration(Duration.newBuilder().setSeconds(90).setNanos(500_000_000))
            .setVersion("java");
    return DispatchRequest.newBuilder().addCalls(call).build();
  }

  /** The batch of the guide: all of its calls are recorded, or none. */
  private static DispatchRequest batch() {
    DispatchRequest.Builder request = DispatchRequest.newBuilder();
    for (String name : List.of("Ada", "Grace")) {
      Struct fields =
          Struct.newBuilder()
              .putFields("name", Value.newBuilder().setStringValue(name).build())
              .build();
      request.addCalls(newCall("greet", Value.newBuilder().setStructValue(fields).build()));
    }
    return request.build();
  }

  private static Call.Builder newCall(String function, Message input) {
    return Call.newBuilder()
        .setEndpoint("http://example.com")
        .setFunction(function)
        .setInput(Any.pack(input));
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
