package run.dispatch.calls.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * CallService tells what became of calls, and cancels them. It takes the same
 * API keys as DispatchService.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class CallServiceGrpc {

  private CallServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "dispatch.calls.v1.CallService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetCallRequest,
      run.dispatch.calls.v1.GetCallResponse> getGetCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetCall",
      requestType = run.dispatch.calls.v1.GetCallRequest.class,
      responseType = run.dispatch.calls.v1.GetCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetCallRequest,
      run.dispatch.calls.v1.GetCallResponse> getGetCallMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetCallRequest, run.dispatch.calls.v1.GetCallResponse> getGetCallMethod;
    if ((getGetCallMethod = CallServiceGrpc.getGetCallMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getGetCallMethod = CallServiceGrpc.getGetCallMethod) == null) {
          CallServiceGrpc.getGetCallMethod = getGetCallMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.GetCallRequest, run.dispatch.calls.v1.GetCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.GetCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.GetCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("GetCall"))
              .build();
        }
      }
    }
    return getGetCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListCallsRequest,
      run.dispatch.calls.v1.ListCallsResponse> getListCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListCalls",
      requestType = run.dispatch.calls.v1.ListCallsRequest.class,
      responseType = run.dispatch.calls.v1.ListCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListCallsRequest,
      run.dispatch.calls.v1.ListCallsResponse> getListCallsMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListCallsRequest, run.dispatch.calls.v1.ListCallsResponse> getListCallsMethod;
    if ((getListCallsMethod = CallServiceGrpc.getListCallsMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getListCallsMethod = CallServiceGrpc.getListCallsMethod) == null) {
          CallServiceGrpc.getListCallsMethod = getListCallsMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.ListCallsRequest, run.dispatch.calls.v1.ListCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("ListCalls"))
              .build();
        }
      }
    }
    return getListCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.WaitCallRequest,
      run.dispatch.calls.v1.WaitCallResponse> getWaitCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WaitCall",
      requestType = run.dispatch.calls.v1.WaitCallRequest.class,
      responseType = run.dispatch.calls.v1.WaitCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.WaitCallRequest,
      run.dispatch.calls.v1.WaitCallResponse> getWaitCallMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.WaitCallRequest, run.dispatch.calls.v1.WaitCallResponse> getWaitCallMethod;
    if ((getWaitCallMethod = CallServiceGrpc.getWaitCallMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getWaitCallMethod = CallServiceGrpc.getWaitCallMethod) == null) {
          CallServiceGrpc.getWaitCallMethod = getWaitCallMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.WaitCallRequest, run.dispatch.calls.v1.WaitCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WaitCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.WaitCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.WaitCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("WaitCall"))
              .build();
        }
      }
    }
    return getWaitCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.CancelCallRequest,
      run.dispatch.calls.v1.CancelCallResponse> getCancelCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelCall",
      requestType = run.dispatch.calls.v1.CancelCallRequest.class,
      responseType = run.dispatch.calls.v1.CancelCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.CancelCallRequest,
      run.dispatch.calls.v1.CancelCallResponse> getCancelCallMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.CancelCallRequest, run.dispatch.calls.v1.CancelCallResponse> getCancelCallMethod;
    if ((getCancelCallMethod = CallServiceGrpc.getCancelCallMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getCancelCallMethod = CallServiceGrpc.getCancelCallMethod) == null) {
          CallServiceGrpc.getCancelCallMethod = getCancelCallMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.CancelCallRequest, run.dispatch.calls.v1.CancelCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CancelCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CancelCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("CancelCall"))
              .build();
        }
      }
    }
    return getCancelCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.CompleteCallRequest,
      run.dispatch.calls.v1.CompleteCallResponse> getCompleteCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CompleteCall",
      requestType = run.dispatch.calls.v1.CompleteCallRequest.class,
      responseType = run.dispatch.calls.v1.CompleteCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.CompleteCallRequest,
      run.dispatch.calls.v1.CompleteCallResponse> getCompleteCallMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.CompleteCallRequest, run.dispatch.calls.v1.CompleteCallResponse> getCompleteCallMethod;
    if ((getCompleteCallMethod = CallServiceGrpc.getCompleteCallMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getCompleteCallMethod = CallServiceGrpc.getCompleteCallMethod) == null) {
          CallServiceGrpc.getCompleteCallMethod = getCompleteCallMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.CompleteCallRequest, run.dispatch.calls.v1.CompleteCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CompleteCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CompleteCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CompleteCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("CompleteCall"))
              .build();
        }
      }
    }
    return getCompleteCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallRequest,
      run.dispatch.calls.v1.RerunCallResponse> getRerunCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RerunCall",
      requestType = run.dispatch.calls.v1.RerunCallRequest.class,
      responseType = run.dispatch.calls.v1.RerunCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallRequest,
      run.dispatch.calls.v1.RerunCallResponse> getRerunCallMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallRequest, run.dispatch.calls.v1.RerunCallResponse> getRerunCallMethod;
    if ((getRerunCallMethod = CallServiceGrpc.getRerunCallMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getRerunCallMethod = CallServiceGrpc.getRerunCallMethod) == null) {
          CallServiceGrpc.getRerunCallMethod = getRerunCallMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.RerunCallRequest, run.dispatch.calls.v1.RerunCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RerunCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.RerunCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.RerunCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("RerunCall"))
              .build();
        }
      }
    }
    return getRerunCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallsRequest,
      run.dispatch.calls.v1.RerunCallsResponse> getRerunCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RerunCalls",
      requestType = run.dispatch.calls.v1.RerunCallsRequest.class,
      responseType = run.dispatch.calls.v1.RerunCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallsRequest,
      run.dispatch.calls.v1.RerunCallsResponse> getRerunCallsMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.RerunCallsRequest, run.dispatch.calls.v1.RerunCallsResponse> getRerunCallsMethod;
    if ((getRerunCallsMethod = CallServiceGrpc.getRerunCallsMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getRerunCallsMethod = CallServiceGrpc.getRerunCallsMethod) == null) {
          CallServiceGrpc.getRerunCallsMethod = getRerunCallsMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.RerunCallsRequest, run.dispatch.calls.v1.RerunCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RerunCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.RerunCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.RerunCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("RerunCalls"))
              .build();
        }
      }
    }
    return getRerunCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.PurgeCallsRequest,
      run.dispatch.calls.v1.PurgeCallsResponse> getPurgeCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PurgeCalls",
      requestType = run.dispatch.calls.v1.PurgeCallsRequest.class,
      responseType = run.dispatch.calls.v1.PurgeCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.PurgeCallsRequest,
      run.dispatch.calls.v1.PurgeCallsResponse> getPurgeCallsMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.PurgeCallsRequest, run.dispatch.calls.v1.PurgeCallsResponse> getPurgeCallsMethod;
    if ((getPurgeCallsMethod = CallServiceGrpc.getPurgeCallsMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getPurgeCallsMethod = CallServiceGrpc.getPurgeCallsMethod) == null) {
          CallServiceGrpc.getPurgeCallsMethod = getPurgeCallsMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.PurgeCallsRequest, run.dispatch.calls.v1.PurgeCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PurgeCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PurgeCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PurgeCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("PurgeCalls"))
              .build();
        }
      }
    }
    return getPurgeCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseCallsRequest,
      run.dispatch.calls.v1.PauseCallsResponse> getPauseCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PauseCalls",
      requestType = run.dispatch.calls.v1.PauseCallsRequest.class,
      responseType = run.dispatch.calls.v1.PauseCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseCallsRequest,
      run.dispatch.calls.v1.PauseCallsResponse> getPauseCallsMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseCallsRequest, run.dispatch.calls.v1.PauseCallsResponse> getPauseCallsMethod;
    if ((getPauseCallsMethod = CallServiceGrpc.getPauseCallsMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getPauseCallsMethod = CallServiceGrpc.getPauseCallsMethod) == null) {
          CallServiceGrpc.getPauseCallsMethod = getPauseCallsMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.PauseCallsRequest, run.dispatch.calls.v1.PauseCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PauseCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PauseCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PauseCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("PauseCalls"))
              .build();
        }
      }
    }
    return getPauseCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeCallsRequest,
      run.dispatch.calls.v1.ResumeCallsResponse> getResumeCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeCalls",
      requestType = run.dispatch.calls.v1.ResumeCallsRequest.class,
      responseType = run.dispatch.calls.v1.ResumeCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeCallsRequest,
      run.dispatch.calls.v1.ResumeCallsResponse> getResumeCallsMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeCallsRequest, run.dispatch.calls.v1.ResumeCallsResponse> getResumeCallsMethod;
    if ((getResumeCallsMethod = CallServiceGrpc.getResumeCallsMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getResumeCallsMethod = CallServiceGrpc.getResumeCallsMethod) == null) {
          CallServiceGrpc.getResumeCallsMethod = getResumeCallsMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.ResumeCallsRequest, run.dispatch.calls.v1.ResumeCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ResumeCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ResumeCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("ResumeCalls"))
              .build();
        }
      }
    }
    return getResumeCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListPausesRequest,
      run.dispatch.calls.v1.ListPausesResponse> getListPausesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListPauses",
      requestType = run.dispatch.calls.v1.ListPausesRequest.class,
      responseType = run.dispatch.calls.v1.ListPausesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListPausesRequest,
      run.dispatch.calls.v1.ListPausesResponse> getListPausesMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListPausesRequest, run.dispatch.calls.v1.ListPausesResponse> getListPausesMethod;
    if ((getListPausesMethod = CallServiceGrpc.getListPausesMethod) == null) {
      synchronized (CallServiceGrpc.class) {
        if ((getListPausesMethod = CallServiceGrpc.getListPausesMethod) == null) {
          CallServiceGrpc.getListPausesMethod = getListPausesMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.ListPausesRequest, run.dispatch.calls.v1.ListPausesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListPauses"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListPausesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListPausesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CallServiceMethodDescriptorSupplier("ListPauses"))
              .build();
        }
      }
    }
    return getListPausesMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static CallServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CallServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CallServiceStub>() {
        @java.lang.Override
        public CallServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CallServiceStub(channel, callOptions);
        }
      };
    return CallServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static CallServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CallServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CallServiceBlockingV2Stub>() {
        @java.lang.Override
        public CallServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CallServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return CallServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static CallServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CallServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CallServiceBlockingStub>() {
        @java.lang.Override
        public CallServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CallServiceBlockingStub(channel, callOptions);
        }
      };
    return CallServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static CallServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CallServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CallServiceFutureStub>() {
        @java.lang.Override
        public CallServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CallServiceFutureStub(channel, callOptions);
        }
      };
    return CallServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * GetCall returns a call as it is now. NOT_FOUND when there is none of that
     * id: it never was, or was pruned some time after it had finished.
     * </pre>
     */
    default void getCall(run.dispatch.calls.v1.GetCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListCalls returns calls, the newest first.
     * </pre>
     */
    default void listCalls(run.dispatch.calls.v1.ListCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * WaitCall returns a call as soon as it has finished, or as it is when the
     * time to wait is over. NOT_FOUND as for GetCall.
     * </pre>
     */
    default void waitCall(run.dispatch.calls.v1.WaitCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.WaitCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWaitCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * CancelCall ends a call that has not finished, and the calls that it made,
     * and theirs. A function that runs right now is not stopped, but what it
     * answers is not used. FAILED_PRECONDITION when the call has finished
     * already.
     * </pre>
     */
    default void cancelCall(run.dispatch.calls.v1.CancelCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CancelCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * CompleteCall ends a call that has not finished with a result from outside.
     * It is meant for calls that are Pending, but ends every call. A function
     * that runs right now is not stopped, but what it answers is not used.
     * The same request may be sent again. FAILED_PRECONDITION when the call has
     * finished with another result. NOT_FOUND as for GetCall.
     * </pre>
     */
    default void completeCall(run.dispatch.calls.v1.CompleteCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CompleteCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCompleteCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * RerunCall dispatches a finished call again, as a new call without a parent:
     * same endpoint, function, version and input. After a tail call these are the
     * ones of the function that took over. It expires after as long a time as the
     * finished call had. NOT_FOUND as for GetCall; FAILED_PRECONDITION when the
     * call has not finished. As for Dispatch, a request with the metadata
     * idempotency-key of an earlier request gets the id of that one.
     * </pre>
     */
    default void rerunCall(run.dispatch.calls.v1.RerunCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRerunCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * RerunCalls dispatches finished calls again, each as RerunCall does, the
     * oldest first, a page for each request. It takes calls without a parent that
     * have not been rerun, so that sending a request again reruns no call twice.
     * Count them with validate_only first.
     * </pre>
     */
    default void rerunCalls(run.dispatch.calls.v1.RerunCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRerunCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * PurgeCalls deletes finished calls, the oldest first, a page for each
     * request. It leaves calls whose results their parents wait for. Count them
     * with validate_only first.
     * </pre>
     */
    default void purgeCalls(run.dispatch.calls.v1.PurgeCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PurgeCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPurgeCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * PauseCalls has no calls begin: of a function, of a host, of a function on a
     * host, or at all. Calls are still recorded, and wait; they expire as if they
     * were not paused. Functions that run are not stopped. A pause lasts until it
     * is resumed, and pausing again changes its reason at most.
     * </pre>
     */
    default void pauseCalls(run.dispatch.calls.v1.PauseCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPauseCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * ResumeCalls ends a pause, or all of them. Calls that another pause is of
     * stay paused. NOT_FOUND when there is no such pause.
     * </pre>
     */
    default void resumeCalls(run.dispatch.calls.v1.ResumeCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListPauses returns the pauses, the oldest first. There are at most 1000.
     * </pre>
     */
    default void listPauses(run.dispatch.calls.v1.ListPausesRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListPausesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListPausesMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service CallService.
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public static abstract class CallServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return CallServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service CallService.
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public static final class CallServiceStub
      extends io.grpc.stub.AbstractAsyncStub<CallServiceStub> {
    private CallServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CallServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CallServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * GetCall returns a call as it is now. NOT_FOUND when there is none of that
     * id: it never was, or was pruned some time after it had finished.
     * </pre>
     */
    public void getCall(run.dispatch.calls.v1.GetCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListCalls returns calls, the newest first.
     * </pre>
     */
    public void listCalls(run.dispatch.calls.v1.ListCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * WaitCall returns a call as soon as it has finished, or as it is when the
     * time to wait is over. NOT_FOUND as for GetCall.
     * </pre>
     */
    public void waitCall(run.dispatch.calls.v1.WaitCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.WaitCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getWaitCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * CancelCall ends a call that has not finished, and the calls that it made,
     * and theirs. A function that runs right now is not stopped, but what it
     * answers is not used. FAILED_PRECONDITION when the call has finished
     * already.
     * </pre>
     */
    public void cancelCall(run.dispatch.calls.v1.CancelCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CancelCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * CompleteCall ends a call that has not finished with a result from outside.
     * It is meant for calls that are Pending, but ends every call. A function
     * that runs right now is not stopped, but what it answers is not used.
     * The same request may be sent again. FAILED_PRECONDITION when the call has
     * finished with another result. NOT_FOUND as for GetCall.
     * </pre>
     */
    public void completeCall(run.dispatch.calls.v1.CompleteCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CompleteCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCompleteCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * RerunCall dispatches a finished call again, as a new call without a parent:
     * same endpoint, function, version and input. After a tail call these are the
     * ones of the function that took over. It expires after as long a time as the
     * finished call had. NOT_FOUND as for GetCall; FAILED_PRECONDITION when the
     * call has not finished. As for Dispatch, a request with the metadata
     * idempotency-key of an earlier request gets the id of that one.
     * </pre>
     */
    public void rerunCall(run.dispatch.calls.v1.RerunCallRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRerunCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * RerunCalls dispatches finished calls again, each as RerunCall does, the
     * oldest first, a page for each request. It takes calls without a parent that
     * have not been rerun, so that sending a request again reruns no call twice.
     * Count them with validate_only first.
     * </pre>
     */
    public void rerunCalls(run.dispatch.calls.v1.RerunCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRerunCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * PurgeCalls deletes finished calls, the oldest first, a page for each
     * request. It leaves calls whose results their parents wait for. Count them
     * with validate_only first.
     * </pre>
     */
    public void purgeCalls(run.dispatch.calls.v1.PurgeCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PurgeCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPurgeCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * PauseCalls has no calls begin: of a function, of a host, of a function on a
     * host, or at all. Calls are still recorded, and wait; they expire as if they
     * were not paused. Functions that run are not stopped. A pause lasts until it
     * is resumed, and pausing again changes its reason at most.
     * </pre>
     */
    public void pauseCalls(run.dispatch.calls.v1.PauseCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPauseCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ResumeCalls ends a pause, or all of them. Calls that another pause is of
     * stay paused. NOT_FOUND when there is no such pause.
     * </pre>
     */
    public void resumeCalls(run.dispatch.calls.v1.ResumeCallsRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResumeCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListPauses returns the pauses, the oldest first. There are at most 1000.
     * </pre>
     */
    public void listPauses(run.dispatch.calls.v1.ListPausesRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListPausesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListPausesMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service CallService.
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public static final class CallServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<CallServiceBlockingV2Stub> {
    private CallServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CallServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CallServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * GetCall returns a call as it is now. NOT_FOUND when there is none of that
     * id: it never was, or was pruned some time after it had finished.
     * </pre>
     */
    public run.dispatch.calls.v1.GetCallResponse getCall(run.dispatch.calls.v1.GetCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListCalls returns calls, the newest first.
     * </pre>
     */
    public run.dispatch.calls.v1.ListCallsResponse listCalls(run.dispatch.calls.v1.ListCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WaitCall returns a call as soon as it has finished, or as it is when the
     * time to wait is over. NOT_FOUND as for GetCall.
     * </pre>
     */
    public run.dispatch.calls.v1.WaitCallResponse waitCall(run.dispatch.calls.v1.WaitCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getWaitCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CancelCall ends a call that has not finished, and the calls that it made,
     * and theirs. A function that runs right now is not stopped, but what it
     * answers is not used. FAILED_PRECONDITION when the call has finished
     * already.
     * </pre>
     */
    public run.dispatch.calls.v1.CancelCallResponse cancelCall(run.dispatch.calls.v1.CancelCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CompleteCall ends a call that has not finished with a result from outside.
     * It is meant for calls that are Pending, but ends every call. A function
     * that runs right now is not stopped, but what it answers is not used.
     * The same request may be sent again. FAILED_PRECONDITION when the call has
     * finished with another result. NOT_FOUND as for GetCall.
     * </pre>
     */
    public run.dispatch.calls.v1.CompleteCallResponse completeCall(run.dispatch.calls.v1.CompleteCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCompleteCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RerunCall dispatches a finished call again, as a new call without a parent:
     * same endpoint, function, version and input. After a tail call these are the
     * ones of the function that took over. It expires after as long a time as the
     * finished call had. NOT_FOUND as for GetCall; FAILED_PRECONDITION when the
     * call has not finished. As for Dispatch, a request with the metadata
     * idempotency-key of an earlier request gets the id of that one.
     * </pre>
     */
    public run.dispatch.calls.v1.RerunCallResponse rerunCall(run.dispatch.calls.v1.RerunCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRerunCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RerunCalls dispatches finished calls again, each as RerunCall does, the
     * oldest first, a page for each request. It takes calls without a parent that
     * have not been rerun, so that sending a request again reruns no call twice.
     * Count them with validate_only first.
     * </pre>
     */
    public run.dispatch.calls.v1.RerunCallsResponse rerunCalls(run.dispatch.calls.v1.RerunCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRerunCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PurgeCalls deletes finished calls, the oldest first, a page for each
     * request. It leaves calls whose results their parents wait for. Count them
     * with validate_only first.
     * </pre>
     */
    public run.dispatch.calls.v1.PurgeCallsResponse purgeCalls(run.dispatch.calls.v1.PurgeCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPurgeCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseCalls has no calls begin: of a function, of a host, of a function on a
     * host, or at all. Calls are still recorded, and wait; they expire as if they
     * were not paused. Functions that run are not stopped. A pause lasts until it
     * is resumed, and pausing again changes its reason at most.
     * </pre>
     */
    public run.dispatch.calls.v1.PauseCallsResponse pauseCalls(run.dispatch.calls.v1.PauseCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPauseCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeCalls ends a pause, or all of them. Calls that another pause is of
     * stay paused. NOT_FOUND when there is no such pause.
     * </pre>
     */
    public run.dispatch.calls.v1.ResumeCallsResponse resumeCalls(run.dispatch.calls.v1.ResumeCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResumeCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListPauses returns the pauses, the oldest first. There are at most 1000.
     * </pre>
     */
    public run.dispatch.calls.v1.ListPausesResponse listPauses(run.dispatch.calls.v1.ListPausesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListPausesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service CallService.
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public static final class CallServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<CallServiceBlockingStub> {
    private CallServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CallServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CallServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * GetCall returns a call as it is now. NOT_FOUND when there is none of that
     * id: it never was, or was pruned some time after it had finished.
     * </pre>
     */
    public run.dispatch.calls.v1.GetCallResponse getCall(run.dispatch.calls.v1.GetCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListCalls returns calls, the newest first.
     * </pre>
     */
    public run.dispatch.calls.v1.ListCallsResponse listCalls(run.dispatch.calls.v1.ListCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WaitCall returns a call as soon as it has finished, or as it is when the
     * time to wait is over. NOT_FOUND as for GetCall.
     * </pre>
     */
    public run.dispatch.calls.v1.WaitCallResponse waitCall(run.dispatch.calls.v1.WaitCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getWaitCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CancelCall ends a call that has not finished, and the calls that it made,
     * and theirs. A function that runs right now is not stopped, but what it
     * answers is not used. FAILED_PRECONDITION when the call has finished
     * already.
     * </pre>
     */
    public run.dispatch.calls.v1.CancelCallResponse cancelCall(run.dispatch.calls.v1.CancelCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CompleteCall ends a call that has not finished with a result from outside.
     * It is meant for calls that are Pending, but ends every call. A function
     * that runs right now is not stopped, but what it answers is not used.
     * The same request may be sent again. FAILED_PRECONDITION when the call has
     * finished with another result. NOT_FOUND as for GetCall.
     * </pre>
     */
    public run.dispatch.calls.v1.CompleteCallResponse completeCall(run.dispatch.calls.v1.CompleteCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCompleteCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RerunCall dispatches a finished call again, as a new call without a parent:
     * same endpoint, function, version and input. After a tail call these are the
     * ones of the function that took over. It expires after as long a time as the
     * finished call had. NOT_FOUND as for GetCall; FAILED_PRECONDITION when the
     * call has not finished. As for Dispatch, a request with the metadata
     * idempotency-key of an earlier request gets the id of that one.
     * </pre>
     */
    public run.dispatch.calls.v1.RerunCallResponse rerunCall(run.dispatch.calls.v1.RerunCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRerunCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RerunCalls dispatches finished calls again, each as RerunCall does, the
     * oldest first, a page for each request. It takes calls without a parent that
     * have not been rerun, so that sending a request again reruns no call twice.
     * Count them with validate_only first.
     * </pre>
     */
    public run.dispatch.calls.v1.RerunCallsResponse rerunCalls(run.dispatch.calls.v1.RerunCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRerunCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PurgeCalls deletes finished calls, the oldest first, a page for each
     * request. It leaves calls whose results their parents wait for. Count them
     * with validate_only first.
     * </pre>
     */
    public run.dispatch.calls.v1.PurgeCallsResponse purgeCalls(run.dispatch.calls.v1.PurgeCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPurgeCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseCalls has no calls begin: of a function, of a host, of a function on a
     * host, or at all. Calls are still recorded, and wait; they expire as if they
     * were not paused. Functions that run are not stopped. A pause lasts until it
     * is resumed, and pausing again changes its reason at most.
     * </pre>
     */
    public run.dispatch.calls.v1.PauseCallsResponse pauseCalls(run.dispatch.calls.v1.PauseCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPauseCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeCalls ends a pause, or all of them. Calls that another pause is of
     * stay paused. NOT_FOUND when there is no such pause.
     * </pre>
     */
    public run.dispatch.calls.v1.ResumeCallsResponse resumeCalls(run.dispatch.calls.v1.ResumeCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResumeCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListPauses returns the pauses, the oldest first. There are at most 1000.
     * </pre>
     */
    public run.dispatch.calls.v1.ListPausesResponse listPauses(run.dispatch.calls.v1.ListPausesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListPausesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service CallService.
   * <pre>
   * CallService tells what became of calls, and cancels them. It takes the same
   * API keys as DispatchService.
   * </pre>
   */
  public static final class CallServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<CallServiceFutureStub> {
    private CallServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CallServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CallServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * GetCall returns a call as it is now. NOT_FOUND when there is none of that
     * id: it never was, or was pruned some time after it had finished.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.GetCallResponse> getCall(
        run.dispatch.calls.v1.GetCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetCallMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListCalls returns calls, the newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.ListCallsResponse> listCalls(
        run.dispatch.calls.v1.ListCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * WaitCall returns a call as soon as it has finished, or as it is when the
     * time to wait is over. NOT_FOUND as for GetCall.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.WaitCallResponse> waitCall(
        run.dispatch.calls.v1.WaitCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getWaitCallMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * CancelCall ends a call that has not finished, and the calls that it made,
     * and theirs. A function that runs right now is not stopped, but what it
     * answers is not used. FAILED_PRECONDITION when the call has finished
     * already.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.CancelCallResponse> cancelCall(
        run.dispatch.calls.v1.CancelCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelCallMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * CompleteCall ends a call that has not finished with a result from outside.
     * It is meant for calls that are Pending, but ends every call. A function
     * that runs right now is not stopped, but what it answers is not used.
     * The same request may be sent again. FAILED_PRECONDITION when the call has
     * finished with another result. NOT_FOUND as for GetCall.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.CompleteCallResponse> completeCall(
        run.dispatch.calls.v1.CompleteCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCompleteCallMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * RerunCall dispatches a finished call again, as a new call without a parent:
     * same endpoint, function, version and input. After a tail call these are the
     * ones of the function that took over. It expires after as long a time as the
     * finished call had. NOT_FOUND as for GetCall; FAILED_PRECONDITION when the
     * call has not finished. As for Dispatch, a request with the metadata
     * idempotency-key of an earlier request gets the id of that one.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.RerunCallResponse> rerunCall(
        run.dispatch.calls.v1.RerunCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRerunCallMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * RerunCalls dispatches finished calls again, each as RerunCall does, the
     * oldest first, a page for each request. It takes calls without a parent that
     * have not been rerun, so that sending a request again reruns no call twice.
     * Count them with validate_only first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.RerunCallsResponse> rerunCalls(
        run.dispatch.calls.v1.RerunCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRerunCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * PurgeCalls deletes finished calls, the oldest first, a page for each
     * request. It leaves calls whose results their parents wait for. Count them
     * with validate_only first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.PurgeCallsResponse> purgeCalls(
        run.dispatch.calls.v1.PurgeCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPurgeCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * PauseCalls has no calls begin: of a function, of a host, of a function on a
     * host, or at all. Calls are still recorded, and wait; they expire as if they
     * were not paused. Functions that run are not stopped. A pause lasts until it
     * is resumed, and pausing again changes its reason at most.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.PauseCallsResponse> pauseCalls(
        run.dispatch.calls.v1.PauseCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPauseCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ResumeCalls ends a pause, or all of them. Calls that another pause is of
     * stay paused. NOT_FOUND when there is no such pause.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.ResumeCallsResponse> resumeCalls(
        run.dispatch.calls.v1.ResumeCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResumeCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListPauses returns the pauses, the oldest first. There are at most 1000.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.ListPausesResponse> listPauses(
        run.dispatch.calls.v1.ListPausesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListPausesMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_GET_CALL = 0;
  private static final int METHODID_LIST_CALLS = 1;
  private static final int METHODID_WAIT_CALL = 2;
  private static final int METHODID_CANCEL_CALL = 3;
  private static final int METHODID_COMPLETE_CALL = 4;
  private static final int METHODID_RERUN_CALL = 5;
  private static final int METHODID_RERUN_CALLS = 6;
  private static final int METHODID_PURGE_CALLS = 7;
  private static final int METHODID_PAUSE_CALLS = 8;
  private static final int METHODID_RESUME_CALLS = 9;
  private static final int METHODID_LIST_PAUSES = 10;

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
        case METHODID_GET_CALL:
          serviceImpl.getCall((run.dispatch.calls.v1.GetCallRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetCallResponse>) responseObserver);
          break;
        case METHODID_LIST_CALLS:
          serviceImpl.listCalls((run.dispatch.calls.v1.ListCallsRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListCallsResponse>) responseObserver);
          break;
        case METHODID_WAIT_CALL:
          serviceImpl.waitCall((run.dispatch.calls.v1.WaitCallRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.WaitCallResponse>) responseObserver);
          break;
        case METHODID_CANCEL_CALL:
          serviceImpl.cancelCall((run.dispatch.calls.v1.CancelCallRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CancelCallResponse>) responseObserver);
          break;
        case METHODID_COMPLETE_CALL:
          serviceImpl.completeCall((run.dispatch.calls.v1.CompleteCallRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CompleteCallResponse>) responseObserver);
          break;
        case METHODID_RERUN_CALL:
          serviceImpl.rerunCall((run.dispatch.calls.v1.RerunCallRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallResponse>) responseObserver);
          break;
        case METHODID_RERUN_CALLS:
          serviceImpl.rerunCalls((run.dispatch.calls.v1.RerunCallsRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.RerunCallsResponse>) responseObserver);
          break;
        case METHODID_PURGE_CALLS:
          serviceImpl.purgeCalls((run.dispatch.calls.v1.PurgeCallsRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PurgeCallsResponse>) responseObserver);
          break;
        case METHODID_PAUSE_CALLS:
          serviceImpl.pauseCalls((run.dispatch.calls.v1.PauseCallsRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseCallsResponse>) responseObserver);
          break;
        case METHODID_RESUME_CALLS:
          serviceImpl.resumeCalls((run.dispatch.calls.v1.ResumeCallsRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeCallsResponse>) responseObserver);
          break;
        case METHODID_LIST_PAUSES:
          serviceImpl.listPauses((run.dispatch.calls.v1.ListPausesRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListPausesResponse>) responseObserver);
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
          getGetCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.GetCallRequest,
              run.dispatch.calls.v1.GetCallResponse>(
                service, METHODID_GET_CALL)))
        .addMethod(
          getListCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.ListCallsRequest,
              run.dispatch.calls.v1.ListCallsResponse>(
                service, METHODID_LIST_CALLS)))
        .addMethod(
          getWaitCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.WaitCallRequest,
              run.dispatch.calls.v1.WaitCallResponse>(
                service, METHODID_WAIT_CALL)))
        .addMethod(
          getCancelCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.CancelCallRequest,
              run.dispatch.calls.v1.CancelCallResponse>(
                service, METHODID_CANCEL_CALL)))
        .addMethod(
          getCompleteCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.CompleteCallRequest,
              run.dispatch.calls.v1.CompleteCallResponse>(
                service, METHODID_COMPLETE_CALL)))
        .addMethod(
          getRerunCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.RerunCallRequest,
              run.dispatch.calls.v1.RerunCallResponse>(
                service, METHODID_RERUN_CALL)))
        .addMethod(
          getRerunCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.RerunCallsRequest,
              run.dispatch.calls.v1.RerunCallsResponse>(
                service, METHODID_RERUN_CALLS)))
        .addMethod(
          getPurgeCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.PurgeCallsRequest,
              run.dispatch.calls.v1.PurgeCallsResponse>(
                service, METHODID_PURGE_CALLS)))
        .addMethod(
          getPauseCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.PauseCallsRequest,
              run.dispatch.calls.v1.PauseCallsResponse>(
                service, METHODID_PAUSE_CALLS)))
        .addMethod(
          getResumeCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.ResumeCallsRequest,
              run.dispatch.calls.v1.ResumeCallsResponse>(
                service, METHODID_RESUME_CALLS)))
        .addMethod(
          getListPausesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.ListPausesRequest,
              run.dispatch.calls.v1.ListPausesResponse>(
                service, METHODID_LIST_PAUSES)))
        .build();
  }

  private static abstract class CallServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    CallServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return run.dispatch.calls.v1.CallsProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("CallService");
    }
  }

  private static final class CallServiceFileDescriptorSupplier
      extends CallServiceBaseDescriptorSupplier {
    CallServiceFileDescriptorSupplier() {}
  }

  private static final class CallServiceMethodDescriptorSupplier
      extends CallServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    CallServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (CallServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new CallServiceFileDescriptorSupplier())
              .addMethod(getGetCallMethod())
              .addMethod(getListCallsMethod())
              .addMethod(getWaitCallMethod())
              .addMethod(getCancelCallMethod())
              .addMethod(getCompleteCallMethod())
              .addMethod(getRerunCallMethod())
              .addMethod(getRerunCallsMethod())
              .addMethod(getPurgeCallsMethod())
              .addMethod(getPauseCallsMethod())
              .addMethod(getResumeCallsMethod())
              .addMethod(getListPausesMethod())
              .build();
        }
      }
    }
    return result;
  }
}
