package run.dispatch.calls.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * ScheduleService holds schedules. A schedule has a call and says at which
 * times, its ticks, the service dispatches it. It takes the same API keys as
 * DispatchService.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class ScheduleServiceGrpc {

  private ScheduleServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "dispatch.calls.v1.ScheduleService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.CreateScheduleRequest,
      run.dispatch.calls.v1.CreateScheduleResponse> getCreateScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateSchedule",
      requestType = run.dispatch.calls.v1.CreateScheduleRequest.class,
      responseType = run.dispatch.calls.v1.CreateScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.CreateScheduleRequest,
      run.dispatch.calls.v1.CreateScheduleResponse> getCreateScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.CreateScheduleRequest, run.dispatch.calls.v1.CreateScheduleResponse> getCreateScheduleMethod;
    if ((getCreateScheduleMethod = ScheduleServiceGrpc.getCreateScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getCreateScheduleMethod = ScheduleServiceGrpc.getCreateScheduleMethod) == null) {
          ScheduleServiceGrpc.getCreateScheduleMethod = getCreateScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.CreateScheduleRequest, run.dispatch.calls.v1.CreateScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CreateScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.CreateScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("CreateSchedule"))
              .build();
        }
      }
    }
    return getCreateScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetScheduleRequest,
      run.dispatch.calls.v1.GetScheduleResponse> getGetScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetSchedule",
      requestType = run.dispatch.calls.v1.GetScheduleRequest.class,
      responseType = run.dispatch.calls.v1.GetScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetScheduleRequest,
      run.dispatch.calls.v1.GetScheduleResponse> getGetScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.GetScheduleRequest, run.dispatch.calls.v1.GetScheduleResponse> getGetScheduleMethod;
    if ((getGetScheduleMethod = ScheduleServiceGrpc.getGetScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getGetScheduleMethod = ScheduleServiceGrpc.getGetScheduleMethod) == null) {
          ScheduleServiceGrpc.getGetScheduleMethod = getGetScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.GetScheduleRequest, run.dispatch.calls.v1.GetScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.GetScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.GetScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("GetSchedule"))
              .build();
        }
      }
    }
    return getGetScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListSchedulesRequest,
      run.dispatch.calls.v1.ListSchedulesResponse> getListSchedulesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListSchedules",
      requestType = run.dispatch.calls.v1.ListSchedulesRequest.class,
      responseType = run.dispatch.calls.v1.ListSchedulesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListSchedulesRequest,
      run.dispatch.calls.v1.ListSchedulesResponse> getListSchedulesMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.ListSchedulesRequest, run.dispatch.calls.v1.ListSchedulesResponse> getListSchedulesMethod;
    if ((getListSchedulesMethod = ScheduleServiceGrpc.getListSchedulesMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getListSchedulesMethod = ScheduleServiceGrpc.getListSchedulesMethod) == null) {
          ScheduleServiceGrpc.getListSchedulesMethod = getListSchedulesMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.ListSchedulesRequest, run.dispatch.calls.v1.ListSchedulesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListSchedules"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListSchedulesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ListSchedulesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("ListSchedules"))
              .build();
        }
      }
    }
    return getListSchedulesMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.UpdateScheduleRequest,
      run.dispatch.calls.v1.UpdateScheduleResponse> getUpdateScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateSchedule",
      requestType = run.dispatch.calls.v1.UpdateScheduleRequest.class,
      responseType = run.dispatch.calls.v1.UpdateScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.UpdateScheduleRequest,
      run.dispatch.calls.v1.UpdateScheduleResponse> getUpdateScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.UpdateScheduleRequest, run.dispatch.calls.v1.UpdateScheduleResponse> getUpdateScheduleMethod;
    if ((getUpdateScheduleMethod = ScheduleServiceGrpc.getUpdateScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getUpdateScheduleMethod = ScheduleServiceGrpc.getUpdateScheduleMethod) == null) {
          ScheduleServiceGrpc.getUpdateScheduleMethod = getUpdateScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.UpdateScheduleRequest, run.dispatch.calls.v1.UpdateScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.UpdateScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.UpdateScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("UpdateSchedule"))
              .build();
        }
      }
    }
    return getUpdateScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseScheduleRequest,
      run.dispatch.calls.v1.PauseScheduleResponse> getPauseScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PauseSchedule",
      requestType = run.dispatch.calls.v1.PauseScheduleRequest.class,
      responseType = run.dispatch.calls.v1.PauseScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseScheduleRequest,
      run.dispatch.calls.v1.PauseScheduleResponse> getPauseScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.PauseScheduleRequest, run.dispatch.calls.v1.PauseScheduleResponse> getPauseScheduleMethod;
    if ((getPauseScheduleMethod = ScheduleServiceGrpc.getPauseScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getPauseScheduleMethod = ScheduleServiceGrpc.getPauseScheduleMethod) == null) {
          ScheduleServiceGrpc.getPauseScheduleMethod = getPauseScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.PauseScheduleRequest, run.dispatch.calls.v1.PauseScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PauseSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PauseScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.PauseScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("PauseSchedule"))
              .build();
        }
      }
    }
    return getPauseScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeScheduleRequest,
      run.dispatch.calls.v1.ResumeScheduleResponse> getResumeScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeSchedule",
      requestType = run.dispatch.calls.v1.ResumeScheduleRequest.class,
      responseType = run.dispatch.calls.v1.ResumeScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeScheduleRequest,
      run.dispatch.calls.v1.ResumeScheduleResponse> getResumeScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.ResumeScheduleRequest, run.dispatch.calls.v1.ResumeScheduleResponse> getResumeScheduleMethod;
    if ((getResumeScheduleMethod = ScheduleServiceGrpc.getResumeScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getResumeScheduleMethod = ScheduleServiceGrpc.getResumeScheduleMethod) == null) {
          ScheduleServiceGrpc.getResumeScheduleMethod = getResumeScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.ResumeScheduleRequest, run.dispatch.calls.v1.ResumeScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ResumeScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.ResumeScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("ResumeSchedule"))
              .build();
        }
      }
    }
    return getResumeScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.TriggerScheduleRequest,
      run.dispatch.calls.v1.TriggerScheduleResponse> getTriggerScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "TriggerSchedule",
      requestType = run.dispatch.calls.v1.TriggerScheduleRequest.class,
      responseType = run.dispatch.calls.v1.TriggerScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.TriggerScheduleRequest,
      run.dispatch.calls.v1.TriggerScheduleResponse> getTriggerScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.TriggerScheduleRequest, run.dispatch.calls.v1.TriggerScheduleResponse> getTriggerScheduleMethod;
    if ((getTriggerScheduleMethod = ScheduleServiceGrpc.getTriggerScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getTriggerScheduleMethod = ScheduleServiceGrpc.getTriggerScheduleMethod) == null) {
          ScheduleServiceGrpc.getTriggerScheduleMethod = getTriggerScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.TriggerScheduleRequest, run.dispatch.calls.v1.TriggerScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "TriggerSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.TriggerScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.TriggerScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("TriggerSchedule"))
              .build();
        }
      }
    }
    return getTriggerScheduleMethod;
  }

  private static volatile io.grpc.MethodDescriptor<run.dispatch.calls.v1.DeleteScheduleRequest,
      run.dispatch.calls.v1.DeleteScheduleResponse> getDeleteScheduleMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteSchedule",
      requestType = run.dispatch.calls.v1.DeleteScheduleRequest.class,
      responseType = run.dispatch.calls.v1.DeleteScheduleResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<run.dispatch.calls.v1.DeleteScheduleRequest,
      run.dispatch.calls.v1.DeleteScheduleResponse> getDeleteScheduleMethod() {
    io.grpc.MethodDescriptor<run.dispatch.calls.v1.DeleteScheduleRequest, run.dispatch.calls.v1.DeleteScheduleResponse> getDeleteScheduleMethod;
    if ((getDeleteScheduleMethod = ScheduleServiceGrpc.getDeleteScheduleMethod) == null) {
      synchronized (ScheduleServiceGrpc.class) {
        if ((getDeleteScheduleMethod = ScheduleServiceGrpc.getDeleteScheduleMethod) == null) {
          ScheduleServiceGrpc.getDeleteScheduleMethod = getDeleteScheduleMethod =
              io.grpc.MethodDescriptor.<run.dispatch.calls.v1.DeleteScheduleRequest, run.dispatch.calls.v1.DeleteScheduleResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteSchedule"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.DeleteScheduleRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  run.dispatch.calls.v1.DeleteScheduleResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ScheduleServiceMethodDescriptorSupplier("DeleteSchedule"))
              .build();
        }
      }
    }
    return getDeleteScheduleMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static ScheduleServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceStub>() {
        @java.lang.Override
        public ScheduleServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ScheduleServiceStub(channel, callOptions);
        }
      };
    return ScheduleServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static ScheduleServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceBlockingV2Stub>() {
        @java.lang.Override
        public ScheduleServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ScheduleServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return ScheduleServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static ScheduleServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceBlockingStub>() {
        @java.lang.Override
        public ScheduleServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ScheduleServiceBlockingStub(channel, callOptions);
        }
      };
    return ScheduleServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static ScheduleServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ScheduleServiceFutureStub>() {
        @java.lang.Override
        public ScheduleServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ScheduleServiceFutureStub(channel, callOptions);
        }
      };
    return ScheduleServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * CreateSchedule records a schedule, whose first tick is the first after
     * now. A schedule of this name that is equal is returned as it is, so that a
     * program can create its schedules whenever it starts. ALREADY_EXISTS when it
     * differs. RESOURCE_EXHAUSTED when there are too many schedules.
     * </pre>
     */
    default void createSchedule(run.dispatch.calls.v1.CreateScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CreateScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * GetSchedule returns a schedule as it is now. NOT_FOUND when there is none
     * of that name.
     * </pre>
     */
    default void getSchedule(run.dispatch.calls.v1.GetScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListSchedules returns schedules by their names in ascending order.
     * </pre>
     */
    default void listSchedules(run.dispatch.calls.v1.ListSchedulesRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListSchedulesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListSchedulesMethod(), responseObserver);
    }

    /**
     * <pre>
     * UpdateSchedule changes a schedule from its next tick on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    default void updateSchedule(run.dispatch.calls.v1.UpdateScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.UpdateScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * PauseSchedule keeps a schedule from firing until it is resumed. Calls that
     * run go on. Pausing it again replaces the note. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    default void pauseSchedule(run.dispatch.calls.v1.PauseScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPauseScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * ResumeSchedule has a paused schedule fire again, from the first tick after
     * now on. It does nothing to a schedule that is not paused. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    default void resumeSchedule(run.dispatch.calls.v1.ResumeScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * TriggerSchedule fires a schedule now, also when it is paused, and does not
     * move its ticks. FAILED_PRECONDITION when the schedule does not allow
     * overlaps and the call of an earlier firing has not finished. NOT_FOUND as
     * for GetSchedule.
     * </pre>
     */
    default void triggerSchedule(run.dispatch.calls.v1.TriggerScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.TriggerScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getTriggerScheduleMethod(), responseObserver);
    }

    /**
     * <pre>
     * DeleteSchedule deletes a schedule. Calls that run go on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    default void deleteSchedule(run.dispatch.calls.v1.DeleteScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.DeleteScheduleResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteScheduleMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service ScheduleService.
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public static abstract class ScheduleServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return ScheduleServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service ScheduleService.
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public static final class ScheduleServiceStub
      extends io.grpc.stub.AbstractAsyncStub<ScheduleServiceStub> {
    private ScheduleServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ScheduleServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ScheduleServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * CreateSchedule records a schedule, whose first tick is the first after
     * now. A schedule of this name that is equal is returned as it is, so that a
     * program can create its schedules whenever it starts. ALREADY_EXISTS when it
     * differs. RESOURCE_EXHAUSTED when there are too many schedules.
     * </pre>
     */
    public void createSchedule(run.dispatch.calls.v1.CreateScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CreateScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * GetSchedule returns a schedule as it is now. NOT_FOUND when there is none
     * of that name.
     * </pre>
     */
    public void getSchedule(run.dispatch.calls.v1.GetScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListSchedules returns schedules by their names in ascending order.
     * </pre>
     */
    public void listSchedules(run.dispatch.calls.v1.ListSchedulesRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListSchedulesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListSchedulesMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * UpdateSchedule changes a schedule from its next tick on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public void updateSchedule(run.dispatch.calls.v1.UpdateScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.UpdateScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * PauseSchedule keeps a schedule from firing until it is resumed. Calls that
     * run go on. Pausing it again replaces the note. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public void pauseSchedule(run.dispatch.calls.v1.PauseScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPauseScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ResumeSchedule has a paused schedule fire again, from the first tick after
     * now on. It does nothing to a schedule that is not paused. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public void resumeSchedule(run.dispatch.calls.v1.ResumeScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResumeScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * TriggerSchedule fires a schedule now, also when it is paused, and does not
     * move its ticks. FAILED_PRECONDITION when the schedule does not allow
     * overlaps and the call of an earlier firing has not finished. NOT_FOUND as
     * for GetSchedule.
     * </pre>
     */
    public void triggerSchedule(run.dispatch.calls.v1.TriggerScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.TriggerScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getTriggerScheduleMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * DeleteSchedule deletes a schedule. Calls that run go on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public void deleteSchedule(run.dispatch.calls.v1.DeleteScheduleRequest request,
        io.grpc.stub.StreamObserver<run.dispatch.calls.v1.DeleteScheduleResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteScheduleMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service ScheduleService.
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public static final class ScheduleServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<ScheduleServiceBlockingV2Stub> {
    private ScheduleServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ScheduleServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ScheduleServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * CreateSchedule records a schedule, whose first tick is the first after
     * now. A schedule of this name that is equal is returned as it is, so that a
     * program can create its schedules whenever it starts. ALREADY_EXISTS when it
     * differs. RESOURCE_EXHAUSTED when there are too many schedules.
     * </pre>
     */
    public run.dispatch.calls.v1.CreateScheduleResponse createSchedule(run.dispatch.calls.v1.CreateScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetSchedule returns a schedule as it is now. NOT_FOUND when there is none
     * of that name.
     * </pre>
     */
    public run.dispatch.calls.v1.GetScheduleResponse getSchedule(run.dispatch.calls.v1.GetScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListSchedules returns schedules by their names in ascending order.
     * </pre>
     */
    public run.dispatch.calls.v1.ListSchedulesResponse listSchedules(run.dispatch.calls.v1.ListSchedulesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListSchedulesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * UpdateSchedule changes a schedule from its next tick on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.UpdateScheduleResponse updateSchedule(run.dispatch.calls.v1.UpdateScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseSchedule keeps a schedule from firing until it is resumed. Calls that
     * run go on. Pausing it again replaces the note. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.PauseScheduleResponse pauseSchedule(run.dispatch.calls.v1.PauseScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPauseScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeSchedule has a paused schedule fire again, from the first tick after
     * now on. It does nothing to a schedule that is not paused. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.ResumeScheduleResponse resumeSchedule(run.dispatch.calls.v1.ResumeScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResumeScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * TriggerSchedule fires a schedule now, also when it is paused, and does not
     * move its ticks. FAILED_PRECONDITION when the schedule does not allow
     * overlaps and the call of an earlier firing has not finished. NOT_FOUND as
     * for GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.TriggerScheduleResponse triggerSchedule(run.dispatch.calls.v1.TriggerScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getTriggerScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DeleteSchedule deletes a schedule. Calls that run go on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.DeleteScheduleResponse deleteSchedule(run.dispatch.calls.v1.DeleteScheduleRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteScheduleMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service ScheduleService.
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public static final class ScheduleServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<ScheduleServiceBlockingStub> {
    private ScheduleServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ScheduleServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ScheduleServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * CreateSchedule records a schedule, whose first tick is the first after
     * now. A schedule of this name that is equal is returned as it is, so that a
     * program can create its schedules whenever it starts. ALREADY_EXISTS when it
     * differs. RESOURCE_EXHAUSTED when there are too many schedules.
     * </pre>
     */
    public run.dispatch.calls.v1.CreateScheduleResponse createSchedule(run.dispatch.calls.v1.CreateScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetSchedule returns a schedule as it is now. NOT_FOUND when there is none
     * of that name.
     * </pre>
     */
    public run.dispatch.calls.v1.GetScheduleResponse getSchedule(run.dispatch.calls.v1.GetScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListSchedules returns schedules by their names in ascending order.
     * </pre>
     */
    public run.dispatch.calls.v1.ListSchedulesResponse listSchedules(run.dispatch.calls.v1.ListSchedulesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListSchedulesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * UpdateSchedule changes a schedule from its next tick on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.UpdateScheduleResponse updateSchedule(run.dispatch.calls.v1.UpdateScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseSchedule keeps a schedule from firing until it is resumed. Calls that
     * run go on. Pausing it again replaces the note. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.PauseScheduleResponse pauseSchedule(run.dispatch.calls.v1.PauseScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPauseScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeSchedule has a paused schedule fire again, from the first tick after
     * now on. It does nothing to a schedule that is not paused. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.ResumeScheduleResponse resumeSchedule(run.dispatch.calls.v1.ResumeScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResumeScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * TriggerSchedule fires a schedule now, also when it is paused, and does not
     * move its ticks. FAILED_PRECONDITION when the schedule does not allow
     * overlaps and the call of an earlier firing has not finished. NOT_FOUND as
     * for GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.TriggerScheduleResponse triggerSchedule(run.dispatch.calls.v1.TriggerScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getTriggerScheduleMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DeleteSchedule deletes a schedule. Calls that run go on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public run.dispatch.calls.v1.DeleteScheduleResponse deleteSchedule(run.dispatch.calls.v1.DeleteScheduleRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteScheduleMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service ScheduleService.
   * <pre>
   * ScheduleService holds schedules. A schedule has a call and says at which
   * times, its ticks, the service dispatches it. It takes the same API keys as
   * DispatchService.
   * </pre>
   */
  public static final class ScheduleServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<ScheduleServiceFutureStub> {
    private ScheduleServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ScheduleServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ScheduleServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * CreateSchedule records a schedule, whose first tick is the first after
     * now. A schedule of this name that is equal is returned as it is, so that a
     * program can create its schedules whenever it starts. ALREADY_EXISTS when it
     * differs. RESOURCE_EXHAUSTED when there are too many schedules.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.CreateScheduleResponse> createSchedule(
        run.dispatch.calls.v1.CreateScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * GetSchedule returns a schedule as it is now. NOT_FOUND when there is none
     * of that name.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.GetScheduleResponse> getSchedule(
        run.dispatch.calls.v1.GetScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListSchedules returns schedules by their names in ascending order.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.ListSchedulesResponse> listSchedules(
        run.dispatch.calls.v1.ListSchedulesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListSchedulesMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * UpdateSchedule changes a schedule from its next tick on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.UpdateScheduleResponse> updateSchedule(
        run.dispatch.calls.v1.UpdateScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * PauseSchedule keeps a schedule from firing until it is resumed. Calls that
     * run go on. Pausing it again replaces the note. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.PauseScheduleResponse> pauseSchedule(
        run.dispatch.calls.v1.PauseScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPauseScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ResumeSchedule has a paused schedule fire again, from the first tick after
     * now on. It does nothing to a schedule that is not paused. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.ResumeScheduleResponse> resumeSchedule(
        run.dispatch.calls.v1.ResumeScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResumeScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * TriggerSchedule fires a schedule now, also when it is paused, and does not
     * move its ticks. FAILED_PRECONDITION when the schedule does not allow
     * overlaps and the call of an earlier firing has not finished. NOT_FOUND as
     * for GetSchedule.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.TriggerScheduleResponse> triggerSchedule(
        run.dispatch.calls.v1.TriggerScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getTriggerScheduleMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * DeleteSchedule deletes a schedule. Calls that run go on. NOT_FOUND as for
     * GetSchedule.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<run.dispatch.calls.v1.DeleteScheduleResponse> deleteSchedule(
        run.dispatch.calls.v1.DeleteScheduleRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteScheduleMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_CREATE_SCHEDULE = 0;
  private static final int METHODID_GET_SCHEDULE = 1;
  private static final int METHODID_LIST_SCHEDULES = 2;
  private static final int METHODID_UPDATE_SCHEDULE = 3;
  private static final int METHODID_PAUSE_SCHEDULE = 4;
  private static final int METHODID_RESUME_SCHEDULE = 5;
  private static final int METHODID_TRIGGER_SCHEDULE = 6;
  private static final int METHODID_DELETE_SCHEDULE = 7;

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
        case METHODID_CREATE_SCHEDULE:
          serviceImpl.createSchedule((run.dispatch.calls.v1.CreateScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.CreateScheduleResponse>) responseObserver);
          break;
        case METHODID_GET_SCHEDULE:
          serviceImpl.getSchedule((run.dispatch.calls.v1.GetScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.GetScheduleResponse>) responseObserver);
          break;
        case METHODID_LIST_SCHEDULES:
          serviceImpl.listSchedules((run.dispatch.calls.v1.ListSchedulesRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ListSchedulesResponse>) responseObserver);
          break;
        case METHODID_UPDATE_SCHEDULE:
          serviceImpl.updateSchedule((run.dispatch.calls.v1.UpdateScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.UpdateScheduleResponse>) responseObserver);
          break;
        case METHODID_PAUSE_SCHEDULE:
          serviceImpl.pauseSchedule((run.dispatch.calls.v1.PauseScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.PauseScheduleResponse>) responseObserver);
          break;
        case METHODID_RESUME_SCHEDULE:
          serviceImpl.resumeSchedule((run.dispatch.calls.v1.ResumeScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.ResumeScheduleResponse>) responseObserver);
          break;
        case METHODID_TRIGGER_SCHEDULE:
          serviceImpl.triggerSchedule((run.dispatch.calls.v1.TriggerScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.TriggerScheduleResponse>) responseObserver);
          break;
        case METHODID_DELETE_SCHEDULE:
          serviceImpl.deleteSchedule((run.dispatch.calls.v1.DeleteScheduleRequest) request,
              (io.grpc.stub.StreamObserver<run.dispatch.calls.v1.DeleteScheduleResponse>) responseObserver);
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
          getCreateScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.CreateScheduleRequest,
              run.dispatch.calls.v1.CreateScheduleResponse>(
                service, METHODID_CREATE_SCHEDULE)))
        .addMethod(
          getGetScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.GetScheduleRequest,
              run.dispatch.calls.v1.GetScheduleResponse>(
                service, METHODID_GET_SCHEDULE)))
        .addMethod(
          getListSchedulesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.ListSchedulesRequest,
              run.dispatch.calls.v1.ListSchedulesResponse>(
                service, METHODID_LIST_SCHEDULES)))
        .addMethod(
          getUpdateScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.UpdateScheduleRequest,
              run.dispatch.calls.v1.UpdateScheduleResponse>(
                service, METHODID_UPDATE_SCHEDULE)))
        .addMethod(
          getPauseScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.PauseScheduleRequest,
              run.dispatch.calls.v1.PauseScheduleResponse>(
                service, METHODID_PAUSE_SCHEDULE)))
        .addMethod(
          getResumeScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.ResumeScheduleRequest,
              run.dispatch.calls.v1.ResumeScheduleResponse>(
                service, METHODID_RESUME_SCHEDULE)))
        .addMethod(
          getTriggerScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.TriggerScheduleRequest,
              run.dispatch.calls.v1.TriggerScheduleResponse>(
                service, METHODID_TRIGGER_SCHEDULE)))
        .addMethod(
          getDeleteScheduleMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              run.dispatch.calls.v1.DeleteScheduleRequest,
              run.dispatch.calls.v1.DeleteScheduleResponse>(
                service, METHODID_DELETE_SCHEDULE)))
        .build();
  }

  private static abstract class ScheduleServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    ScheduleServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return run.dispatch.calls.v1.SchedulesProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("ScheduleService");
    }
  }

  private static final class ScheduleServiceFileDescriptorSupplier
      extends ScheduleServiceBaseDescriptorSupplier {
    ScheduleServiceFileDescriptorSupplier() {}
  }

  private static final class ScheduleServiceMethodDescriptorSupplier
      extends ScheduleServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    ScheduleServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (ScheduleServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new ScheduleServiceFileDescriptorSupplier())
              .addMethod(getCreateScheduleMethod())
              .addMethod(getGetScheduleMethod())
              .addMethod(getListSchedulesMethod())
              .addMethod(getUpdateScheduleMethod())
              .addMethod(getPauseScheduleMethod())
              .addMethod(getResumeScheduleMethod())
              .addMethod(getTriggerScheduleMethod())
              .addMethod(getDeleteScheduleMethod())
              .build();
        }
      }
    }
    return result;
  }
}
