"""The loggers of the package."""

import logging

logger: logging.Logger = logging.getLogger("dispatch_grpc")
service_logger: logging.Logger = logging.getLogger("dispatch_grpc.service")
