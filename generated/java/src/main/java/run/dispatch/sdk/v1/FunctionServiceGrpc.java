package run.dispatch.sdk.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * FunctionService is implemented by endpoints: a Dispatch service calls it to
 * run the functions that the endpoint hosts.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class FunctionServiceGrpc {

  private FunctionServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "dispatch.sdk.v1.FunctionService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<run.dispatch.sdk.v1.RunRequest,
      run.dispatch.sdk.v1.RunResponse> getRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Run",
      requestType = run.dispatch.sdk.v1.RunRequest.class,
      responseType = run.dispatch.sdk.v1.RunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.sdk.v1.RunRequest,
      run.dispatch.sdk.v1.RunResponse> getRunMethod() {
    io.grpc.MethodDescriptor<run.dispatch.sdk.v1.RunRequest, run.dispatch.sdk.v1.RunResponse> getRunMethod;
    if ((getRunMethod = FunctionServiceGrpc.getRunMethod) == null) {
      synchronized (FunctionServiceGrpc.class) {
        if ((getRunMethod = FunctionServiceGrpc.getRunMethod) == null) {
          FunctionServiceGrpc.getRunMethod = getRunMethod =
              io.grpc.MethodDescriptor.<run.dispatch.sdk.v1.RunRequest, run.dispatch.sdk.v1.RunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Run"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.sdk.v1.RunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.sdk.v1.RunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new FunctionServiceMethodDescriptorSupplier("Run"))
              .build();
        }
      }
    }
    return getRunMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static FunctionServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<FunctionServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<FunctionServiceStub>() {
        @java.lang.Override
        public FunctionServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new FunctionServiceStub(channel, callOptions);
        }
      };
    return FunctionServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static FunctionServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<FunctionServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<FunctionServiceBlockingV2Stub>() {
        @java.lang.Override
        public FunctionServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new FunctionServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return FunctionServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static FunctionServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<FunctionServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<FunctionServiceBlockingStub>() {
        @java.lang.Override
        public FunctionServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new FunctionServiceBlockingStub(channel, callOptions);
        }
      };
    return FunctionServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static FunctionServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<FunctionServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<FunctionServiceFutureStub>() {
        @java.lang.Override
        public FunctionServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new FunctionServiceFutureStub(channel, callOptions);
        }
      };
    return FunctionServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Run starts a function, or resumes one that suspended itself with a Poll.
     * It returns when the function ends or suspends itself.
     * </pre>
     */
    default void run(run.dispatch.sdk.v1.RunRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.RunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRunMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service FunctionService.
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public static abstract class FunctionServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return FunctionServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service FunctionService.
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public static final class FunctionServiceStub
      extends io.grpc.stub.AbstractAsyncStub<FunctionServiceStub> {
    private FunctionServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected FunctionServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new FunctionServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Run starts a function, or resumes one that suspended itself with a Poll.
     * It returns when the function ends or suspends itself.
     * </pre>
     */
    public void run(run.dispatch.sdk.v1.RunRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.RunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRunMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service FunctionService.
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public static final class FunctionServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<FunctionServiceBlockingV2Stub> {
    private FunctionServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected FunctionServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new FunctionServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Run starts a function, or resumes one that suspended itself with a Poll.
     * It returns when the function ends or suspends itself.
     * </pre>
     */
    public run.dispatch.sdk.v1.RunResponse run(run.dispatch.sdk.v1.RunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service FunctionService.
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public static final class FunctionServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<FunctionServiceBlockingStub> {
    private FunctionServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected FunctionServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new FunctionServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Run starts a function, or resumes one that suspended itself with a Poll.
     * It returns when the function ends or suspends itself.
     * </pre>
     */
    public run.dispatch.sdk.v1.RunResponse run(run.dispatch.sdk.v1.RunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service FunctionService.
   * <pre>
   * FunctionService is implemented by endpoints: a Dispatch service calls it to
   * run the functions that the endpoint hosts.
   * </pre>
   */
  public static final class FunctionServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<FunctionServiceFutureStub> {
    private FunctionServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected FunctionServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new FunctionServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Run starts a function, or resumes one that suspended itself with a Poll.
     * It returns when the function ends or suspends itself.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.sdk.v1.RunResponse> run(
        run.dispatch.sdk.v1.RunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRunMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_RUN = 0;

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
        case METHODID_RUN:
          serviceImpl.run((run.dispatch.sdk.v1.RunRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.sdk.v1.RunResponse>) responseObserver);
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
          getRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.sdk.v1.RunRequest,
              run.dispatch.sdk.v1.RunResponse>(
                service, METHODID_RUN)))
        .build();
  }

  private static abstract class FunctionServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    FunctionServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return run.dispatch.sdk.v1.FunctionProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("FunctionService");
    }
  }

  private static final class FunctionServiceFileDescriptorSupplier
      extends FunctionServiceBaseDescriptorSupplier {
    FunctionServiceFileDescriptorSupplier() {}
  }

  private static final class FunctionServiceMethodDescriptorSupplier
      extends FunctionServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    FunctionServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (FunctionServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new FunctionServiceFileDescriptorSupplier())
              .addMethod(getRunMethod())
              .build();
        }
      }
    }
    return result;
  }
}
