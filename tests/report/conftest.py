"""A headless Chromium that tells what it fetched and logged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTHS = {"phone": 360, "desktop": 1280}


class Browser:
    """One window.

    Args:
        driver: of selenium.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, device: str = "desktop", scheme: str = "light") -> None:
        """Show a page from its file, with an empty log."""
        width = WIDTHS[device]
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": device == "phone"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get("about:blank")
        self.messages()
        self.fetched()
        self.driver.get(page.resolve().as_uri())

    def script(self, text: str, *values: Any) -> Any:
        """What JavaScript returns."""
        return self.driver.execute_script(text, *values)

    def messages(self) -> list[str]:
        """What was logged since the last call: errors, warnings, refusals of the page's policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def fetched(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def press(self, *keys: str) -> None:
        """Keys on whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        from selenium.webdriver.common.keys import Keys

        for _ in range(60):
            if self.script("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab never comes to {selector}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium and chromium-driver, a CI's Chrome, or those that CHROME and CHROMEDRIVER name."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, to look at the page")
    actual = os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    if not actual or not driver:
        pytest.skip("needs Chromium and its driver (Debian: chromium, chromium-driver), to look at the page")
    options = webdriver.ChromeOptions()
    options.binary_location = actual
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(opened)
    finally:
        opened.quit()
