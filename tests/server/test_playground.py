"""LangServe's playground in a real browser: in the app of ``rag-chain serve`` and in a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from langserve import add_routes

from rag_chain import Settings, build_chain, create_app, ingest
from tests.serving import make_key, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

QUESTION = "Where do rows live?"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]


@pytest.fixture(params=["serve", "own app"])
def address(request: pytest.FixtureRequest, settings: Settings, folder: Path) -> Iterator[str]:
    """The address of either door over three documents."""
    ingest(folder, settings)
    if request.param == "serve":
        app = create_app(settings)
    else:
        app = FastAPI()
        add_routes(app, build_chain(settings), path="/rag")
    with serving(app) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page; at the end it must have asked nobody else and have had nothing to complain of."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(address) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
    yield page
    context.close()
    assert wrong == []


def answered(page: Page) -> None:
    """Start, and wait for the answer's end."""
    page.get_by_role("button", name="Start").click()
    page.get_by_text('"grounded": true').first.wait_for()
    assert "guide/storage.md" in page.locator("body").inner_text()


def test_a_question_is_answered(page: Page, address: str) -> None:
    """The text typed into the form comes back with its sources and citations."""
    page.goto(f"{address}/rag/playground/")
    page.get_by_role("tab", name="Text").wait_for()
    page.locator("textarea").first.fill(QUESTION)
    answered(page)


def test_a_question_with_its_fields_is_answered(page: Page, address: str) -> None:
    """So does the form of a question with history and filter."""
    page.goto(f"{address}/rag/playground/")
    page.get_by_role("tab", name="Question").click()
    page.locator("textarea").first.fill(QUESTION)
    answered(page)


def test_an_empty_question_can_not_be_sent(page: Page, address: str) -> None:
    """The form itself refuses it, by the schema."""
    page.goto(f"{address}/rag/playground/")
    page.get_by_role("tab", name="Question").click()
    assert page.get_by_role("button", name="Start").is_disabled()


def test_whoever_signed_in_may_use_it(browser: Browser, settings: Settings, folder: Path) -> None:
    """The session of the chat page counts; without one the question is refused."""
    key = make_key(settings.keys_file, "default", "ask")
    ingest(folder, settings)
    with serving(create_app(settings)) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/rag/playground/")
        with page.expect_response("**/rag/stream_log") as refused:
            page.locator("textarea").first.fill(QUESTION)
            page.get_by_role("button", name="Start").click()
        assert refused.value.status == 401
        assert context.request.post(f"{address}/session", data={"key": key}).ok
        page.goto(f"{address}/rag/playground/")
        page.locator("textarea").first.fill(QUESTION)
        answered(page)
        context.close()
