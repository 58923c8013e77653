"""A real headless Chromium for the tests of the pages (conftest.py's fixtures); skipped, with the reason, without one."""

import shutil
import tempfile
from pathlib import Path

import pytest

ALT, CONTROL, ENTER, ESCAPE, LEFT, UP, DOWN = "\ue00a\ue009\ue007\ue00c\ue012\ue013\ue015"  # of WebDriver
FLAGS = "headless no-sandbox no-first-run disable-gpu disable-quic disable-dev-shm-usage window-size=1400,1000".split()
FLAGS += "disable-background-networking disable-component-update disable-sync lang=ko".split()


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """`launch()`: a new Chromium with a profile of its own, as a Page."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install selenium)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    started = []

    def start():
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        started.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)))
        downloads = tmp_path_factory.mktemp("downloads")
        started[-1].execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        return Page(started[-1], downloads)

    yield start
    for one in started:
        one.quit()


@pytest.fixture(scope="session")
def browser(launch):
    return launch()


class Page:
    """What a person does on a page."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, path):
        self.driver.get(Path(path).as_uri())
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def click(self, selector):
        self.run("arguments[0].scrollIntoView({ block: 'center' })", self.find(selector))
        self.find(selector).click()

    def keys(self, *keys):
        """Press the last key while the others are held."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver)
        for key in keys:
            chain.key_down(key)
        for key in reversed(keys):
            chain.key_up(key)
        chain.perform()

    def wait(self, test):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        redrawn = [StaleElementReferenceException]  # between finding an element and reading it
        return WebDriverWait(self.driver, 10, 0.02, redrawn).until(lambda _: test())

    def export(self, how=None):
        """The file that comes of a click on the button (or of `how`), moved to a folder of its own."""
        how() if how else self.find("#export").click()
        # Chrome first writes an empty file of this name
        file = self.wait(lambda: next((f for f in self.downloads.glob("*.json") if f.stat().st_size), None))
        return file.rename(Path(tempfile.mkdtemp(dir=self.downloads)) / file.name)

    def told(self):
        return self.find("#told").text

    def errors(self):
        """The browser's messages since the last call."""
        return self.driver.get_log("browser")
