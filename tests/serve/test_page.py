"""The page in a real Chromium."""

import shutil

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")

from freelm.serve.batching import Engine  # noqa: E402
from freelm.serve.http.limits import Limits  # noqa: E402
from freelm.serve.settings import Settings  # noqa: E402
from tiny_serve import OracleBackend, live  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def server():
    limits = Limits()
    engine = Engine(OracleBackend(), limits)
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
    # As this backend decodes it: the page knows no form.
    assert "where it is.The customer is satisfied.\nP(true) = " in judged


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


def judged(page, meters):
    page.click("#judge")
    sync_api.expect(page.get_by_role("meter")).to_have_count(meters)


def set_threshold(page, value):
    page.locator("#threshold").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


@pytest.mark.parametrize(
    "act",
    [
        lambda page: page.click("#judge"),
        lambda page: page.fill("#text", "Another text."),
        lambda page: page.check("#truncate"),
        lambda page: page.select_option("#example", "2"),
    ],
    ids=["judge", "edit", "wish", "example"],
)
def test_code_of_a_former_request_is_not_shown(page, act):
    page.click("#copy-curl")
    sync_api.expect(page.locator("#copied")).not_to_be_empty()
    act(page)
    sync_api.expect(page.locator("#code")).to_be_hidden()
    sync_api.expect(page.locator("#copied")).to_be_empty()


def test_an_edit_marks_the_answer_and_an_example_clears_it(page):
    stale = page.locator("#stale")
    page.fill("#text", "Before anything is asked.")
    sync_api.expect(stale).to_be_hidden()
    judged(page, 3)
    sync_api.expect(stale).to_be_hidden()
    page.fill("#claims", "It rains.")
    sync_api.expect(stale).to_be_visible()
    judged(page, 1)
    sync_api.expect(stale).to_be_hidden()
    page.select_option("#example", "1")
    sync_api.expect(page.get_by_role("meter")).to_have_count(0)
    sync_api.expect(stale).to_be_hidden()


@pytest.mark.parametrize(
    ("example", "fill", "words"),
    [
        ("0", {"#claims": " "}, "write at least one"),
        ("0", {"#text": " "}, "The text is empty"),
        ("1", {"#question": " "}, "The question is empty"),
        ("2", {"[aria-label='Name 2']": "very"}, "levels 2 and 4 both say “very”"),
        (
            "1",
            {"[aria-label='Description (may be empty) 3']": "It is about a payment or a refund."},
            "options 1 and 3 both say",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_before_it_is_sent(page, example, fill, words):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.select_option("#example", example)
    for field, text in fill.items():
        page.fill(field, text)
    page.click("#judge")
    sync_api.expect(page.get_by_role("alert")).to_contain_text(words)
    assert asked == []


def test_too_few_options_are_said(page):
    page.select_option("#example", "1")
    page.click("[aria-label='Remove 1']")
    page.click("[aria-label='Remove 2']")
    page.click("#judge")
    sync_api.expect(page.get_by_role("alert")).to_contain_text("at least two options")


def test_a_question_is_required_where_options_are(page):
    assert not page.evaluate("document.getElementById('question').required")
    page.select_option("#example", "1")
    assert page.evaluate("document.getElementById('question').required")


def test_a_text_that_is_too_long_points_at_the_checkbox(page):
    error = {"message": 'send "freelm"', "type": "", "param": "input", "code": "context_too_long"}
    page.route("**/v1/decisions", lambda route: route.fulfill(status=400, json={"error": error}))
    page.click("#judge")
    sync_api.expect(page.get_by_role("alert")).to_contain_text("tick “Cut the text")


@pytest.mark.parametrize(("example", "number"), [("1", 3), ("2", 4)])
def test_an_answer_below_the_threshold_names_the_likeliest(page, example, number):
    page.select_option("#example", example)
    judged(page, number)
    best = page.locator("li.best .words span:first-child").inner_text()
    for value, below in (("1", True), ("0", False)):
        set_threshold(page, value)
        said = page.locator("#answer p:not(.hint)").all_inner_texts()
        assert said[-1].startswith(f"{best}, the likeliest, is by itself true with ")
        assert said[-1].endswith("below the threshold, so none.") == below
        assert (len(said) == 2 and said[0].startswith("Level ")) == (example == "2")
        assert page.locator("li.best").count() == 1
