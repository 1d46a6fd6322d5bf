package run.dispatch.sdk.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * DispatchService accepts calls for asynchronous execution.
 * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
 * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
 * request once, however often the same key and body arrive.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class DispatchServiceGrpc {

  private DispatchServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "dispatch.sdk.v1.DispatchService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<run.dispatch.sdk.v1.DispatchRequest,
      run.dispatch.sdk.v1.DispatchResponse> getDispatchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Dispatch",
      requestType = run.dispatch.sdk.v1.DispatchRequest.class,
      responseType = run.dispatch.sdk.v1.DispatchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.sdk.v1.DispatchRequest,
      run.dispatch.sdk.v1.DispatchResponse> getDispatchMethod() {
    io.grpc.MethodDescriptor<run.dispatch.sdk.v1.DispatchRequest, run.dispatch.sdk.v1.DispatchResponse> getDispatchMethod;
    if ((getDispatchMethod = DispatchServiceGrpc.getDispatchMethod) == null) {
      synchronized (DispatchServiceGrpc.class) {
        if ((getDispatchMethod = DispatchServiceGrpc.getDispatchMethod) == null) {
          DispatchServiceGrpc.getDispatchMethod = getDispatchMethod =
              io.grpc.MethodDescriptor.<run.dispatch.sdk.v1.DispatchRequest, run.dispatch.sdk.v1.DispatchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Dispatch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.sdk.v1.DispatchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.sdk.v1.DispatchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DispatchServiceMethodDescriptorSupplier("Dispatch"))
              .build();
        }
      }
    }
    return getDispatchMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static DispatchServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DispatchServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DispatchServiceStub>() {
        @java.lang.Override
        public DispatchServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DispatchServiceStub(channel, callOptions);
        }
      };
    return DispatchServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static DispatchServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DispatchServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DispatchServiceBlockingV2Stub>() {
        @java.lang.Override
        public DispatchServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DispatchServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return DispatchServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static DispatchServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DispatchServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DispatchServiceBlockingStub>() {
        @java.lang.Override
        public DispatchServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DispatchServiceBlockingStub(channel, callOptions);
        }
      };
    return DispatchServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static DispatchServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DispatchServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DispatchServiceFutureStub>() {
        @java.lang.Override
        public DispatchServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DispatchServiceFutureStub(channel, callOptions);
        }
      };
    return DispatchServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Dispatch records calls and returns one id for each of them.
     * It returns as soon as the calls are persisted and does not wait for them
     * to run. It is atomic: either every call of the request is recorded, or the
     * answer is an error and none is.
     * </pre>
     */
    default void dispatch(run.dispatch.sdk.v1.DispatchRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.DispatchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDispatchMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service DispatchService.
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public static abstract class DispatchServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return DispatchServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service DispatchService.
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public static final class DispatchServiceStub
      extends io.grpc.stub.AbstractAsyncStub<DispatchServiceStub> {
    private DispatchServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DispatchServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DispatchServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Dispatch records calls and returns one id for each of them.
     * It returns as soon as the calls are persisted and does not wait for them
     * to run. It is atomic: either every call of the request is recorded, or the
     * answer is an error and none is.
     * </pre>
     */
    public void dispatch(run.dispatch.sdk.v1.DispatchRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.DispatchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDispatchMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service DispatchService.
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public static final class DispatchServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<DispatchServiceBlockingV2Stub> {
    private DispatchServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DispatchServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DispatchServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Dispatch records calls and returns one id for each of them.
     * It returns as soon as the calls are persisted and does not wait for them
     * to run. It is atomic: either every call of the request is recorded, or the
     * answer is an error and none is.
     * </pre>
     */
    public run.dispatch.sdk.v1.DispatchResponse dispatch(run.dispatch.sdk.v1.DispatchRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDispatchMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service DispatchService.
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public static final class DispatchServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<DispatchServiceBlockingStub> {
    private DispatchServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DispatchServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DispatchServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Dispatch records calls and returns one id for each of them.
     * It returns as soon as the calls are persisted and does not wait for them
     * to run. It is atomic: either every call of the request is recorded, or the
     * answer is an error and none is.
     * </pre>
     */
    public run.dispatch.sdk.v1.DispatchResponse dispatch(run.dispatch.sdk.v1.DispatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDispatchMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service DispatchService.
   * <pre>
   * DispatchService accepts calls for asynchronous execution.
   * Requests carry an API key in the metadata "authorization: Bearer &lt;key&gt;", and
   * may carry "idempotency-key: &lt;text&gt;": a service that supports it records a
   * request once, however often the same key and body arrive.
   * </pre>
   */
  public static final class DispatchServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<DispatchServiceFutureStub> {
    private DispatchServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DispatchServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DispatchServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Dispatch records calls and returns one id for each of them.
     * It returns as soon as the calls are persisted and does not wait for them
     * to run. It is atomic: either every call of the request is recorded, or the
     * answer is an error and none is.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.sdk.v1.DispatchResponse> dispatch(
        run.dispatch.sdk.v1.DispatchRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDispatchMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_DISPATCH = 0;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_DISPATCH:
          serviceImpl.dispatch((run.dispatch.sdk.v1.DispatchRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.DispatchResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getDispatchMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.sdk.v1.DispatchRequest,
              run.dispatch.sdk.v1.DispatchResponse>(
                service, METHODID_DISPATCH)))
        .build();
  }

  private static abstract class DispatchServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    DispatchServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return run.dispatch.sdk.v1.DispatchProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("DispatchService");
    }
  }

  private static final class DispatchServiceFileDescriptorSupplier
      extends DispatchServiceBaseDescriptorSupplier {
    DispatchServiceFileDescriptorSupplier() {}
  }

  private static final class DispatchServiceMethodDescriptorSupplier
      extends DispatchServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    DispatchServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (DispatchServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new DispatchServiceFileDescriptorSupplier())
              .addMethod(getDispatchMethod())
              .build();
        }
      }
    }
    return result;
  }
}
