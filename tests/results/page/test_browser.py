"""The page used in a real browser: Debian's chromium, without a window."""

import json
import shutil

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

HOSTILE = '<b id="planted">bold</b><script>document.title="run"</script>'

ALLOWED_SCHEMES = ("file:", "data:")


@pytest.fixture(scope="module")
def chromium():
    """The browser, with its console and its requests on record."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1300,900"):
        options.add_argument(f"--{argument}")
    options.add_argument("--force-prefers-reduced-motion")  # what scrolls smoothly cannot be clicked yet
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Opened:
    """An opened page: what a person sees of it and does with it."""

    def __init__(self, driver):
        from selenium.webdriver.common.keys import Keys

        self.driver, self.keys = driver, Keys

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector):
        return self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent.trim())", selector
        )

    def column(self, place):
        """The cells of a column of the table, without the mark of what can be opened."""
        found = self.texts(f"#table > tbody > tr:first-child > *:nth-child({place})")
        return [text.lstrip("▸▾") for text in found]

    def sorted_by(self):
        """Header → aria-sort, of those that are sorted."""
        headers = self.all("#table thead th[aria-sort]")
        found = {header.text.split("\n")[0].strip(" ▼▲"): header.get_attribute("aria-sort") for header in headers}
        return {name: order for name, order in found.items() if order != "none"}

    def type(self, *keys):
        """Into whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focused(self):
        return self.driver.switch_to.active_element

    def wait(self, condition):
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: condition())

    def status(self):
        return self.find("#status").text

    def background(self):
        return self.driver.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.fixture
def opened(chromium, tmp_path, document):
    """opened(store) → its page, opened; at the end nothing was complained of and nothing fetched."""

    def call(store):
        file = tmp_path / "page.html"
        file.write_text(document(store), encoding="utf-8")
        for kind in ("browser", "performance"):
            chromium.get_log(kind)  # of the page before
        chromium.get(file.as_uri())
        page = Opened(chromium)
        page.wait(lambda: page.find("html").get_attribute("data-ready"))
        return page

    yield call
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert requests and all(url.startswith(ALLOWED_SCHEMES) for url in requests), requests
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.fixture
def three(add, tmp_path):
    """Three methods of two seeds each: lora 0.8, finetune 0.7, probe 0.6."""
    for method, value in (("probe", 0.6), ("lora", 0.8), ("finetune", 0.7)):
        for seed in (0, 1):
            history = [{"step": step, "validation/accuracy": value * step / 10} for step in range(1, 11)]
            add(value + seed / 100, method=method, seed=seed, history=history)
    return tmp_path / "runs"


def test_it_is_sorted_by_clicking(opened, three):
    page = opened(three)
    assert page.column(1) == ["lora", "finetune", "probe"], "the best first"
    assert page.sorted_by() == {"test.accuracy": "descending"}
    page.find("button[data-column=mean]").click()
    assert page.column(1) == ["probe", "finetune", "lora"]
    assert page.sorted_by() == {"test.accuracy": "ascending"}
    page.find('button[data-column="cell:method"]').click()
    assert page.column(1) == ["finetune", "lora", "probe"]
    assert page.sorted_by() == {"method": "ascending"}
    assert page.column(2) == ["0.7050 ± 0.0635", "0.8050 ± 0.0635", "0.6050 ± 0.0635"]


def test_it_is_filtered_and_says_how_much_is_left(opened, three):
    page = opened(three)
    assert page.status() == "Showing 3 of 3 groups (6 runs)."
    assert page.find("#status").get_attribute("aria-live") == "polite"
    page.find("#filter").send_keys("LORA")
    assert page.column(1) == ["lora"] and page.status() == "Showing 1 of 3 groups (2 runs)."
    page.wait(lambda: page.texts("#curves .legend li") == ["lora"])
    page.find("#filter").clear()
    page.find("#filter").send_keys("-lora valid")
    assert page.column(1) == ["finetune", "probe"]
    page.find("#filter").send_keys("zzz")
    assert page.column(1) == [] and page.status().startswith("Showing 0 of 3")
    page.wait(lambda: page.texts("#curves .legend li") == [])


def test_a_group_opens_into_its_runs(opened, three):
    page = opened(three)
    button = page.find("#table tbody .expand")
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    inside = page.find(f"#{button.get_attribute('aria-controls')}")
    rows = [row.text for row in inside.find_elements("css selector", ".plain tbody tr")]
    assert [row.split()[:2] for row in rows] == [["0", "0.8000"], ["1", "0.8100"]]
    button.click()
    assert page.all("#table tr.details") == []


def test_everything_can_be_done_by_the_keyboard(opened, three):
    page = opened(three)
    page.type(page.keys.TAB)
    assert page.focused().text == "Skip to the results"
    page.type(page.keys.ENTER)
    reached = []
    for _ in range(40):
        page.type(page.keys.TAB)
        focused = page.focused()
        reached.append(focused.get_attribute("data-column") or focused.get_attribute("id") or focused.tag_name)
        if reached[-1] == "cell:method":
            page.type(page.keys.ENTER)
            assert page.sorted_by() == {"method": "ascending"}
            assert page.focused().get_attribute("data-column") == "cell:method", "the focus stays where it was"
            page.type(page.keys.SPACE)
            assert page.sorted_by() == {"method": "descending"}
        elif focused.get_attribute("aria-expanded") == "false":
            page.type(page.keys.ENTER)
            assert focused.get_attribute("aria-expanded") == "true"
            break
    assert reached[0] == "filter" and "cell:method" in reached and page.all("#table tr.details")
    for _ in range(20):
        page.type(page.keys.TAB)
        if page.focused().tag_name == "summary":
            break
    page.type(page.keys.ENTER)
    assert page.wait(lambda: page.all("figure details[open] table"))


def test_light_and_dark(opened, three, chromium):
    page = opened(three)
    light, theme = page.background(), page.find("#theme")
    assert theme.get_attribute("aria-pressed") == "false"
    theme.click()
    dark = page.background()
    assert dark != light and theme.get_attribute("aria-pressed") == "true"
    theme.click()
    assert page.background() == light
    preference = {"name": "prefers-color-scheme", "value": "dark"}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
    page = opened(three)
    assert page.background() == dark and page.find("#theme").get_attribute("aria-pressed") == "true"
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [preference]})
    assert page.background() == light, "printed on white"
    assert not page.find("#filter").is_displayed()


def test_a_label_that_is_markup_stays_text(opened, add, tmp_path):
    domains = {HOSTILE: {"accuracy": 0.4, "rows": 5}, "plain": {"accuracy": 0.9, "rows": 5}}
    add(0.5, method=HOSTILE, metrics={"domain": domains}, history=[{"step": 1, f"validation/{HOSTILE}": 1.0}])
    add(0.4, method="x" * 5000)
    page = opened(tmp_path / "runs")
    page.find("#table tbody .expand").click()
    assert page.column(1)[0].startswith(HOSTILE)
    assert page.all("#planted, td b, th b, main script") == []
    assert page.find("title").get_attribute("textContent") == "tlresearch report"
    assert page.texts("#curves-choice option") == [f"validation/{HOSTILE}"]
    assert f"Worst: {HOSTILE} (0.4000" in page.find("#domains figcaption").text


def test_charts_are_named_described_and_have_their_numbers_as_a_table(opened, trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    page = opened(trained)
    sections = ["labels", "cost", "curves", "confusion", "domains", "stages"]
    for section in sections:
        assert page.find(f"#{section}").is_displayed(), section
        chart = page.find(f"#{section} svg[role=img]")
        for name in chart.get_attribute("aria-labelledby").split():
            assert page.texts(f"#{name}")[0], section
        page.driver.execute_script("arguments[0].scrollIntoView()", page.find(f"#{section} summary"))
        page.find(f"#{section} summary").click()
        assert page.wait(lambda section=section: page.all(f"#{section} figure table tbody tr"))
    assert page.texts("#contents a")[1:] == page.texts("main section:not([hidden]) h2")[1:]
    assert page.all("#stages svg[role=img]")[1:], "the curves and the matrix"
    counts = page.texts("#confusion figure tbody td")
    columns = len(page.texts("#confusion figure thead th"))
    assert len(counts) == 10 * (columns - 1)
    choice = page.find("#cost-choice")
    choice.find_element("css selector", "option[value=parameters_trainable]").click()
    assert "parameters trainable" in page.find("#cost svg title").get_attribute("textContent")
    page.find("#dataset option[value=split]").click()
    assert set(page.column(2)) == {"split"} and not page.find("#labels").is_displayed()


def test_the_pareto_front_has_what_nothing_beats(opened, add, tmp_path):
    for method, value, seconds in (("cheap", 0.5, 1), ("beaten", 0.4, 2), ("dear", 0.9, 50), ("equal", 0.9, 60)):
        add(value, method=method, cost={"seconds_train": seconds})
    page = opened(tmp_path / "runs")
    page.find("#cost summary").click()
    rows = page.wait(lambda: page.texts("#cost figure tbody tr"))
    assert {row.split("0.")[0].rstrip("0123456789"): row.endswith("yes") for row in rows} == {
        "cheap": True, "beaten": False, "dear": True, "equal": False,
    }  # fmt: skip


def test_rows_come_in_portions_and_all_are_printed(opened, add, tmp_path, chromium):
    for i in range(250):
        add(i / 1000, method=f"m{i}")
    page = opened(tmp_path / "runs")
    assert len(page.column(1)) == 100 and page.column(1)[0] == "m249"
    page.find("#more").click()
    assert len(page.column(1)) == 200
    chromium.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(page.column(1)) == 250 and not page.find("#more").is_displayed()
    page.find("#filter").send_keys("m17")
    assert page.column(1) == [f"m{i}" for i in (*range(179, 169, -1), 17)], "the filter is over all of them"


def test_an_error_is_best_when_it_is_low(opened, add, tmp_path):
    add(0.5)
    for method, value in (("lora", 3.0), ("probe", 1.5)):
        add(value, metric="test.rmse", method=method)
    page = opened(tmp_path / "runs")
    page.find("#metric option:nth-child(2)").click()
    assert page.column(1) == ["probe", "lora"] and page.sorted_by() == {"test.rmse": "ascending"}


def test_an_empty_store_and_one_without_results(opened, add, tmp_path):
    (tmp_path / "empty").mkdir()
    page = opened(tmp_path / "empty")
    assert page.status() == "No runs yet; tlresearch train makes one." and not page.find("#cost").is_displayed()
    add(None, status="failed", error="out of memory")
    page = opened(tmp_path / "runs")
    assert page.status() == "No run is done yet." and "out of memory" in page.find("#unfinished").text


def test_one_run(opened, add, tmp_path):
    add(0.5)
    page = opened(tmp_path / "runs")
    assert len(page.column(1)) == 1 and page.status() == "Showing 1 of 1 group (1 run)."
    assert "±" not in page.find("#table tbody").text
