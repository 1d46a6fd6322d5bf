"""An endpoint of nothing but `http.server` and the stubs, written quickly."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.values import unmarshal


class BareEndpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = RunRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        if request.function not in {"echo", "fail", "crash"}:
            self.send_error(404)
            return
        response = RunResponse(status="STATUS_OK")
        result = response.exit.result
        if request.function == "echo":
            result.output.CopyFrom(request.input)
        else:
            text = unmarshal(request.input, str)
            status = text if request.function == "fail" else "TEMPORARY_ERROR"
            response.MergeFrom(RunResponse(status=f"STATUS_{status}"))
            result.error.type, result.error.message = "Error", text
        data = response.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/proto")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print no tracebacks."""
