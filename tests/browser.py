"""A real headless Chromium for the tests of the pages; skipped, with the reason, where there is none.

from tests.browser import chromium  # noqa: F401   (a fixture)
"""

import shutil
import time

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A selenium driver with its own empty profile; `driver.downloads` is the folder where exported files land."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install selenium)")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    program = shutil.which("chromedriver")
    if not browser or not program:
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    downloads = tmp_path_factory.mktemp("downloads")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,900", "--lang=ko"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(program))
    driver.downloads = downloads
    yield driver
    driver.quit()


def until(ask, seconds=10):
    """What `ask()` returns once it is true; AssertionError when it stays false for so long."""
    end = time.time() + seconds
    while not (answer := ask()):
        assert time.time() < end, "the page did not get there"
        time.sleep(0.03)
    return answer
