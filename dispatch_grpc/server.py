"""Public path of DispatchService as an ASGI application: see `dispatch_grpc.serving`."""

from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.dispatch_service import Handler, dispatch_app

__all__ = ["ASGIApplication", "Handler", "dispatch_app"]
