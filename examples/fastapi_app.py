"""A FastAPI application that hosts functions of Dispatch beside its own routes.

    uvicorn examples.fastapi_app:app --port 8000

With hypercorn instead of uvicorn it serves gRPC as well. Set DISPATCH_API_KEY and DISPATCH_API_URL
to dispatch calls.
"""

from fastapi import FastAPI

from dispatch_grpc import Endpoint

app = FastAPI()
endpoint = Endpoint("http://127.0.0.1:8000")  # where the Dispatch service finds this application


@endpoint.function
def welcome(name: str) -> str:
    """A function that the Dispatch service calls."""
    return f"Welcome, {name}!"


@app.post("/signup/{name}")
def sign_up(name: str) -> dict[str, str]:
    """A route of the application itself: it dispatches the function above."""
    return {"dispatch_id": welcome.dispatch(name)}


# Last: it receives every request that no route above matches.
app.mount("/", endpoint.app)
