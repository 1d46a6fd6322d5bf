"""The loggers of the package."""

import logging

logger = logging.getLogger("dispatch_grpc")
service_logger = logging.getLogger("dispatch_grpc.service")
