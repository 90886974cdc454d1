"""Limits by tier: nobody, free and paying accounts, and a stricter one on running a verification.

    python3 -m pip install uv && uv run examples/tiers.py

counts in this process. A fleet shares its counts on a Redis or Valkey that you have:

    STORAGE=redis://localhost:6379/0 uv run --extra redis examples/tiers.py

The verifications are jobs of which the cost is known only when they are done; what was charged too much goes back.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection

from envelope import RateLimiter, RouteLimit, UnauthorizedError, client_address, install


@dataclass(frozen=True)
class Account:
    """A customer. Tokens are secrets: they are looked up, and never are a key themselves."""

    name: str
    tier: str


ACCOUNTS = {"free-token": Account("Curious Ltd", "free"), "paid-token": Account("Busy Inc", "paid")}

LIMITS = {"anonymous": "3/minute", "free": "10/minute; 100/day", "paid": "100/second; 100000/day"}
VERIFICATIONS = {"anonymous": "1/minute", "free": "6/minute", "paid": "60/minute"}


def account_of(request: HTTPConnection) -> Account | None:
    return ACCOUNTS.get(request.headers.get("x-api-key", ""))


def tier_of(request: HTTPConnection) -> str:
    account = account_of(request)
    return account.tier if account else "anonymous"


def budget_of(request: HTTPConnection) -> str | None:
    """Charge the account of a token that is known; a token that is not known buys no budget of its own."""
    account = account_of(request)
    return f"account {account.name}" if account else client_address(request)


limiter = RateLimiter(
    lambda request: LIMITS[tier_of(request)],
    key=budget_of,
    storage=os.environ.get("STORAGE", "memory://"),
    routes={
        "GET /health": None,
        # Three for a verification, until it is known what it took; beside the tier's own limits, all or nothing.
        "POST /entities/{entity_id}/verify": RouteLimit(
            lambda request: VERIFICATIONS[tier_of(request)],
            cost=lambda request: 1 if tier_of(request) == "anonymous" else 3,
        ),
    },
)

app = FastAPI(title="Tiers")
install(app, rate_limiter=limiter)

token = APIKeyHeader(name="x-api-key", auto_error=False)


def log_in(request: Request, _: Annotated[str | None, Depends(token)]) -> Account:
    account = account_of(request)
    if account is None:
        raise UnauthorizedError(headers={"WWW-Authenticate": "APIKey"})  # as FastAPI names it
    return account


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/entities/{entity_id}")
async def get_entity(entity_id: int) -> dict[str, int]:
    return {"id": entity_id}


@app.post("/entities/{entity_id}/verify")
async def verify(entity_id: int, account: Annotated[Account, Depends(log_in)], request: Request) -> dict[str, str]:
    checks = 1 + entity_id % 3
    await limiter.settle(request, checks)
    return {"verified_for": account.name, "checks": str(checks)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the tiers on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    url = f"http://127.0.0.1:{port}/entities/1"
    print("Try, in another terminal, each a few times:")
    print(f"  curl -i {url}")
    print(f"  curl -i {url} -H 'x-api-key: free-token'")
    print(f"  curl -i -X POST {url}/verify -H 'x-api-key: paid-token'", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
