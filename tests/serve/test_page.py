"""The page in a real Chromium."""

import shutil

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")

from freelm.serve.batching import Engine  # noqa: E402
from freelm.serve.limits import Limits  # noqa: E402
from freelm.serve.settings import Settings  # noqa: E402
from tiny_serve import OracleJudge, live, no_writing, words  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def server():
    limits = Limits()
    engine = Engine(OracleJudge(), words, no_writing, limits)
    with live(engine, Settings(names=("tiny",), limits=limits)) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def is_fault(line):
    """Whether the console tells of a fault of the page; refused requests are its own to show."""
    return line.type == "error" and "status of 4" not in line.text


@pytest.fixture(params=[(1280, 900, "light"), (360, 740, "dark")], ids=["desk", "phone"])
def page(request, browser, server):
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened = context.new_page()
    faults = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if is_fault(line) else None)
    opened.goto(server.url)
    sync_api.expect(opened.locator("#model")).to_have_text("tiny")
    yield opened
    assert faults == []
    context.close()


def test_claims_are_judged_by_the_keyboard_alone(page):
    page.focus("#text")
    page.keyboard.press("Control+Enter")
    meters = page.get_by_role("meter")
    sync_api.expect(meters).to_have_count(3)
    assert page.locator(".mark").count() == 3
    page.focus("summary")
    page.keyboard.press("Enter")
    judged = page.locator("details pre").first.inner_text()
    # The form of this engine: the page knows none.
    assert "where it is. | The customer is satisfied. !\nP(true) = " in judged


def test_nothing_is_asked_before_the_model_is_known(browser, server):
    context = browser.new_context()
    opened = context.new_page()
    held, asked = [], []
    opened.route("**/v1/models", lambda route: held.append(route))
    opened.on("request", lambda request: asked.append(request.post_data_json))
    opened.goto(server.url)
    opened.focus("#text")
    opened.keyboard.press("Control+Enter")
    opened.wait_for_timeout(200)
    assert not any(asked)
    while held:
        held.pop().continue_()
    sync_api.expect(opened.get_by_role("meter")).to_have_count(3)
    assert [body["model"] for body in asked if body] == ["tiny"]
    context.close()


def test_the_threshold_decides(page):
    page.click("#judge")
    sync_api.expect(page.get_by_role("meter")).to_have_count(3)
    for value, word in (("0", "true: "), ("1", "false: ")):
        page.locator("#threshold").evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
        )
        texts = page.locator("ol.bars .words span:first-child").all_inner_texts()
        assert all(text.startswith(word) for text in texts)


@pytest.mark.parametrize(("example", "number"), [("1", 3), ("2", 4)])
def test_options_and_levels(page, example, number):
    page.select_option("#example", example)
    page.click("#judge")
    sync_api.expect(page.get_by_role("meter")).to_have_count(number)
    shares = [float(m.get_attribute("aria-valuenow")) for m in page.get_by_role("meter").all()]
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_a_users_words_are_words(page):
    page.fill("#text", "<img src=x onerror=alert(1)>")
    page.fill("#claims", "<b>bold</b> is bold.")
    page.click("#judge")
    sync_api.expect(page.get_by_role("meter")).to_have_count(1)
    assert page.locator("#answer b, #answer img").count() == 0
    assert "<b>bold</b>" in page.locator("#answer").inner_text()


def test_an_error_is_said(page):
    page.fill("#claims", "same\nsame")
    page.select_option("#example", "1")
    page.locator("#options input").nth(0).fill("delivery")
    page.locator("#options input").nth(1).fill("")
    page.locator("#options input").nth(2).fill("delivery")
    page.locator("#options input").nth(3).fill("")
    page.click("#judge")
    sync_api.expect(page.get_by_role("alert")).to_contain_text("must differ")


def test_the_copied_code_is_the_request(page):
    page.click("#copy-python")
    code = page.locator("#code").inner_text()
    compile(code, "copied", "exec")
    assert "client.decisions.create(" in code
    page.fill("#text", "It's here")
    page.click("#copy-curl")
    assert r"It'\''s here" in page.locator("#code").inner_text()


def test_nothing_is_wider_than_the_page(page):
    page.click("#judge")
    sync_api.expect(page.get_by_role("meter")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
