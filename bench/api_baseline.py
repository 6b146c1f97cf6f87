"""What the API is measured against: `python -m bench.api_baseline DSN` serves a constant, and pages by OFFSET, on a bare Starlette."""

import json
import socket
import sys

import uvicorn
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE = "SELECT * FROM pipeline_runs ORDER BY created_at DESC LIMIT 50 OFFSET %s"


def main() -> None:
    pool = ConnectionPool(sys.argv[1], min_size=1, max_size=8, kwargs={"row_factory": dict_row})

    async def constant(_: Request) -> Response:
        return Response(b'{"status": "ok"}', media_type="application/json")

    def offset(request: Request) -> Response:
        with pool.connection() as connection:
            rows = connection.execute(PAGE, (int(request.query_params["depth"]),)).fetchall()
        return Response(json.dumps(rows, default=str), media_type="application/json")

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    app = Starlette(routes=[Route("/constant", constant), Route("/offset", offset)])
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
