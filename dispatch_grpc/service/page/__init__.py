"""The page at `/`: to look at calls with a browser, to rerun and cancel them, to pause functions.

`app` takes every request and checks access (`sessions`); `views` reads what a template shows, and
`actions` does what a button asks for. `requests` is HTTP, `filters` the query of the list of calls,
`formatting` calls as text, `tree` the calls below a call, `charts` the numbers behind the SVGs.
"""

from dispatch_grpc.service.page.actions import Actions
from dispatch_grpc.service.page.app import Page

__all__ = ["Actions", "Page"]
