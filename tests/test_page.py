"""The chat page in a real browser, over a real uvicorn and the loopback provider: a person's whole path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from rag_chain import Settings, create_app, ingest
from rag_chain.keys import KeyFile
from tests.fireworks_faults import CutStream, Delay, Status
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, FilePayload, Locator, Page, Request

    from tests.fireworks_server import FireworksServer

pytestmark = pytest.mark.browser

# Checks accessibility; no part of the project, so whoever has it says where it is.
AXE = os.environ.get("AXE_SCRIPT", "")
QUESTION = "Where do rows live?"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WIDTH, HEIGHT = 360, 740


@pytest.fixture
def settings(online: Settings, tmp_path: Path) -> Settings:
    return online.with_changes(keys_file=tmp_path / "keys.json", upload_folder=tmp_path / "uploads")


@pytest.fixture
def address(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of our app over three documents, and one that attacks."""
    attack = f"---\ntitle: {EVIL!r}\n---\n# Zebras {EVIL}\n\nZebras {EVIL} have stripes.\n"
    (folder / "attack.md").write_text(attack, "utf-8")
    ingest(folder, settings)
    with serving(create_app(settings)) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, opened; at the end it must have asked nobody else, failed nowhere and shown no dialog."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    foreign: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(address) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(address)
    yield page
    context.close()
    assert (foreign, errors) == ([], [])


def ask(page: Page, question: str = QUESTION) -> Locator:
    """Ask, wait for the end of the answer and return it."""
    begin(page, question)
    return ended(page)


def begin(page: Page, question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def ended(page: Page) -> Locator:
    page.locator(".turn").last.locator(".answer:not([aria-busy])").wait_for()
    return page.locator(".turn").last


def asked(request: Request) -> dict[str, Any]:
    """Return the question that a request sends."""
    question: dict[str, Any] = (request.post_data_json or {})["input"]
    return question


def add_files(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: list[FilePayload] = [{"name": name, "mimeType": "text/plain", "buffer": text} for name, text in files]
    page.locator("#files").set_input_files(payloads)


def axe(page: Page) -> list[str]:
    """Return what axe-core finds to be serious or critical."""
    page.evaluate(Path(AXE).read_text("utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run()")
    return [
        f"{each['id']}: {node['html'][:150]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def test_a_citation_opens_its_passage(page: Page, address: str) -> None:
    """The highlighted text is the citation's quote; Esc closes the panel and gives the focus back."""
    answer = httpx.post(f"{address}/rag/invoke", json={"input": QUESTION}).json()["output"]
    quote = answer["citations"][0]["quote"]
    turn = ask(page)
    assert "Grounded" in turn.inner_text()
    mark = turn.locator(".mark").first
    assert mark.inner_text().split() == ["1", "verbatim"]
    mark.click()
    panel = page.get_by_role("dialog", name="Storage guide")
    assert panel.locator("mark").inner_text() == quote
    assert {"guide/storage.md", "Verbatim"} <= set(re.split(r"[\n ]", panel.inner_text()))
    page.keyboard.press("Escape")
    panel.wait_for(state="hidden")
    assert mark.evaluate("mark => mark === document.activeElement")
    turn.locator(".source-row").first.click()
    assert panel.locator("mark").inner_text() == quote


def test_offsets_are_characters_and_not_utf16(
    page: Page, fireworks: FireworksServer, folder: Path, settings: Settings
) -> None:
    """A passage after an emoji is highlighted where it is."""
    (folder / "whales.md").write_text("🐋🐋🐋 are whales. They dive deep at night. 🐋 sleep by day.\n", "utf-8")
    ingest(folder, settings)
    fireworks.answer = "They dive deep at night [1]."
    ask(page, "Do whales dive at night?").locator(".mark").click()
    assert page.locator("#source mark").inner_text().rstrip(".") == "They dive deep at night"


def test_a_follow_up_sends_the_conversation(page: Page, fireworks: FireworksServer) -> None:
    """And a new conversation does not."""
    fireworks.answer = "Rows live in sealed segments on object storage [1]."
    ask(page)
    with page.expect_request("**/rag/stream") as request:
        ask(page, "And metadata?")
    history = asked(request.value)["chat_history"]
    assert history == [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": fireworks.answer}]
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".turn").count() == 0
    with page.expect_request("**/rag/stream") as request:
        ask(page)
    assert asked(request.value) == {"question": QUESTION, "chat_history": []}


def test_an_answer_streams_and_stop_stops_the_model(page: Page, fireworks: FireworksServer) -> None:
    """The text that has come stays, the composer is usable at once."""
    fireworks.answer = "word " * 600
    fireworks.token_delay = 0.02
    begin(page)
    prose = page.locator(".prose")
    prose.get_by_text("word").wait_for()
    early = len(prose.inner_text())
    page.wait_for_timeout(300)
    assert early < len(prose.inner_text()) < 2000
    page.get_by_role("button", name="Stop").click()
    assert "Stopped" in ended(page).inner_text()
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[-1].client_gone
    fireworks.answer, fireworks.token_delay = "Rows live in segments [1].", 0
    assert "segments" in ask(page).inner_text()


def test_the_reader_is_not_pulled_to_the_end(page: Page, fireworks: FireworksServer) -> None:
    """Who has scrolled up stays there while the answer goes on; who is at the end is kept there."""
    fireworks.answer = "A paragraph of some words.\n\n" * 200
    fireworks.token_delay = 0.004
    begin(page)
    log = page.locator("#log")
    page.locator(".prose > p:nth-child(30)").wait_for()
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 64
    log.evaluate("log => { log.scrollTop = 100 }")
    page.locator(".prose > p:nth-child(60)").wait_for(state="attached")
    assert log.evaluate("log => log.scrollTop") == 100
    page.get_by_role("button", name="Latest").click()
    ended(page)
    assert page.locator(".prose > p").count() == 200


def test_a_refusal_is_no_error(page: Page, fireworks: FireworksServer) -> None:
    """It is said calmly, with nothing to retry."""
    fireworks.answer = "I don't know: the documents do not answer this question."
    turn = ask(page)
    assert "The documents don’t answer this" in turn.inner_text()
    assert turn.locator(".failure, [role=alert]").count() == 0


def test_what_is_not_supported_is_said(page: Page, fireworks: FireworksServer) -> None:
    """By the citation, and below the answer."""
    fireworks.answer = "Rows live on the moon since 1969 [1]."
    turn = ask(page)
    assert turn.locator(".mark").inner_text().split() == ["1", "unsupported"]
    assert "Not fully supported by the sources" in turn.inner_text()


@pytest.mark.parametrize(
    ("fault", "title"), [(Status(401), "The model provider refused"), (CutStream(after=2), "Something went wrong")]
)
def test_an_error_is_told_and_can_be_tried_again(
    fault: Any, title: str, page: Page, fireworks: FireworksServer
) -> None:
    """Before the first token and in the middle of an answer; what failed is no part of the conversation."""
    fireworks.faults.add("chat", fault)
    turn = ask(page)
    assert title in turn.get_by_role("alert").inner_text()
    assert page.get_by_label("Your question").is_editable()
    with page.expect_request("**/rag/stream") as request:
        turn.get_by_role("button", name="Try again").click()
    assert "Grounded" in ended(page).inner_text()
    assert asked(request.value)["chat_history"] == []
    assert page.locator(".turn").count() == 1


def test_chosen_documents_only_are_asked(page: Page) -> None:
    """They are found by typing, shown as chips and sent as a filter."""
    page.get_by_role("button", name="All documents").click()
    page.keyboard.type("bear")
    page.locator(".pick-list label").first.filter(has_text="bears.txt").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.get_by_label("Search documents").fill("tides")
    page.get_by_role("checkbox", name="tides.html").check()
    page.keyboard.press("Escape")
    assert page.locator(".chip").count() == 2
    page.get_by_role("button", name=re.compile("Remove .*[Tt]ides")).click()
    with page.expect_request("**/rag/stream") as request:
        turn = ask(page, "What do bears eat?")
    assert asked(request.value)["filter"] == {"source": ["bears.txt"]}
    assert set(turn.locator(".source-row-name").all_inner_texts()) == {"bears"}


def test_documents_are_added_in_order(page: Page, fireworks: FireworksServer) -> None:
    """One at a time, each with what became of it; one that is refused does not hold up the rest."""
    fireworks.faults.always("embeddings", Delay(0.3))
    files = [("penguins.md", b"Penguins huddle together.\n"), ("broken.pdf", b"%PDF-1.7 no"), ("n" * 160, b"# N\n")]
    add_files(page, *files)
    rows = page.locator("#upload-rows > li")
    assert "Waiting" in rows.nth(1).inner_text()
    for number, state in enumerate(("added", "refused", "failed")):
        page.locator(f"#upload-rows > li:nth-child({number + 1})[data-state={state}]").wait_for(timeout=60_000)
    assert "1 passage" in rows.nth(0).inner_text()
    assert "PDF" in rows.nth(1).inner_text()
    assert "plain file name" in rows.nth(2).inner_text()
    turn = ask(page, "What do penguins do together?")
    assert "huddle" in turn.inner_text()


def test_files_can_be_dropped(page: Page) -> None:
    """Anywhere on the page."""
    page.get_by_role("button", name="Add documents").wait_for()
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["# Owls\\n\\nOwls hunt at night.\\n"], "owls.md"));
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            for (const type of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(type, options));
        }"""
    )
    page.locator("#upload-rows > li[data-state=added]").filter(has_text="owls.md").wait_for()
    assert page.locator("#drop").is_hidden()


def test_a_key_signs_in(page: Page, settings: Settings) -> None:
    """Who may only ask is not offered to add documents; signing out leaves nothing behind."""
    ask(page)
    _, key = KeyFile(settings.keys_file).add("ann", settings.tenant, ["ask"])
    page.reload()
    page.get_by_label("API key").fill("rag_wrong")
    page.keyboard.press("Enter")
    page.get_by_text("this API key is not known").wait_for()
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    assert "Grounded" in ask(page).inner_text()
    assert page.get_by_role("button", name="Add documents").is_hidden()
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    assert (page.locator(".turn").count(), page.context.cookies()) == (0, [])


def test_a_revoked_key_leads_to_signing_in(page: Page, settings: Settings) -> None:
    """In the middle of a conversation."""
    keys = KeyFile(settings.keys_file)
    _, key = keys.add("ann", settings.tenant, ["ask", "ingest"])
    page.reload()
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    ask(page)
    keys.revoke("ann")
    begin(page)
    page.get_by_label("API key").wait_for()


def test_nothing_that_is_said_becomes_a_part_of_the_page(page: Page, fireworks: FireworksServer) -> None:
    """In the answer, the question, titles, texts and file names: it shows as it is written."""
    fireworks.answer = (
        f'{EVIL} **{EVIL}** `{EVIL}` [run](javascript:alert(3)) [x](https://e.com/"onclick=alert(4)) [1].\n\n'
        f"```\n{EVIL}\n```\n\n- {EVIL}\n\n| {EVIL} |\n|---|\n| {EVIL} |\n"
    )
    turn = ask(page, f"Do zebras have stripes? {EVIL}")
    assert turn.inner_text().count(EVIL) >= 7
    page.locator(".source-row", has_text="Zebras").or_(page.locator(".source-row")).first.evaluate("row => row.click()")
    page.locator("#source").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="All documents").click()
    page.locator(".pick-list", has_text="attack.md").wait_for()
    page.get_by_role("checkbox").first.check()
    add_files(page, ("<img src=x onerror=alert(5)>.md", b"x"))
    page.locator("#upload-rows > li[data-state=failed]", has_text="<img").wait_for()
    page.wait_for_timeout(200)
    assert page.locator("img, script:not([src]), iframe, [onerror], [onclick], [href^=javascript]").count() == 0


def test_markdown_of_answers(page: Page, fireworks: FireworksServer) -> None:
    """The same whether it comes at once or in pieces."""
    fireworks.token_delay = 0.01
    fireworks.answer = (
        "# Head\n\nSome **bold**, *italic* and `a [1] b` in 2 * 3 * 4 snake_case_name.\n\n"
        "1. one\n   - inner\n2. two\n\n```python\nx[1] = 1\n\ny = 2\n```\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n"
        "> said\n\nSee https://example.com/a_b. End [1]."
    )
    prose = ask(page).locator(".prose")
    html = prose.evaluate("prose => [...prose.children].map(child => child.tagName).join(' ')")
    assert html == "H3 P OL PRE DIV BLOCKQUOTE P"
    assert prose.locator("strong").all_inner_texts() == ["bold"]
    assert prose.locator("em").all_inner_texts() == ["italic"]
    assert prose.locator("p code").all_inner_texts() == ["a [1] b"]
    assert prose.locator("ol > li").count() == 2
    assert prose.locator("pre").inner_text() == "x[1] = 1\n\ny = 2"
    assert prose.locator("td").all_inner_texts() == ["1", "2", "3", "4"]
    assert prose.locator("a").get_attribute("href") == "https://example.com/a_b"
    assert prose.locator(".mark").count() == 1


def test_keys_and_themes(page: Page) -> None:
    """Shift and Enter begins a line; the theme that was chosen is kept."""
    box = page.get_by_label("Your question")
    box.press_sequentially("one")
    page.keyboard.press("Shift+Enter")
    box.press_sequentially("two")
    assert (box.input_value(), page.locator(".turn").count()) == ("one\ntwo", 0)
    page.get_by_role("button", name="Dark theme").click()
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Dark theme").get_attribute("aria-pressed") == "true"


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page, fireworks: FireworksServer) -> None:
    """Also with long words, wide tables and code; a source covers the screen."""
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    fireworks.answer = (
        f"{'long' * 60} [1].\n\n```\n{'code ' * 60}\n```\n\n| {' | '.join('column' * 9)} |\n|{'---|' * 54}\n"
    )
    turn = ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert page.locator("#log").evaluate("log => log.scrollWidth === log.clientWidth")
    turn.locator(".mark").first.click()
    box = page.locator("#source").bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (WIDTH, HEIGHT)


@pytest.mark.skipif(not AXE, reason="needs axe-core: AXE_SCRIPT=.../axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: Any, page: Page, fireworks: FireworksServer, settings: Settings) -> None:
    """Empty, with answers, errors, an open source, the picker, uploads, and signing in."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.locator("#empty").wait_for()
    assert axe(page) == []
    ask(page)
    fireworks.answer = "Rows live on Mars [1].\n\n| a |\n|---|\n| b |\n\n```\ncode\n```\n\n[x](https://example.com)"
    ask(page)
    fireworks.answer = "I don't know: the documents do not answer this question."
    ask(page)
    fireworks.faults.add("chat", Status(401))
    ask(page)
    add_files(page, (".hidden", b"x"))
    page.locator("#upload-rows > li[data-state=failed]").wait_for()
    page.locator(".mark").first.click()
    assert axe(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="All documents").click()
    page.get_by_role("checkbox").first.check()
    assert axe(page) == []
    KeyFile(settings.keys_file).add("ann", settings.tenant, ["ask"])
    page.reload()
    page.get_by_label("API key").wait_for()
    assert axe(page) == []


def test_the_address_is_all_that_is_asked(page: Page, address: str) -> None:
    """Every file of the page comes from this server, and from the policy's list of kinds."""
    loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert {urlsplit(url).netloc for url in loaded} == {urlsplit(address).netloc}
