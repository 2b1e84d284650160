"""Clients of Milvus Lite's server that have nothing to ask for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest

from rag_chain.store.lite import hold, let_go

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_an_idle_client_is_not_sent_away(tmp_path: Path) -> None:
    """It pings to see that the server is there; by default the fourth ping ends the connection, and gRPC says so."""
    # Not more than pymilvus does, but without a pause after two of them, so that half a minute is enough.
    options = [
        ("grpc.keepalive_time_ms", 6000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    states: list[grpc.ChannelConnectivity] = []
    held = hold(str(tmp_path / "test.db"))
    try:
        with grpc.insecure_channel(held.uri.removeprefix("http://"), options) as channel:
            channel.subscribe(states.append, try_to_connect=True)
            time.sleep(35)
    finally:
        let_go(held)
    assert [state.name for state in states if state.name != "CONNECTING"] == ["IDLE", "READY"]
