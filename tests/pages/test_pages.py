"""The blocks of Python in our pages do what they say: the README's, and those of the site.

They are run in the way that ``run_page.py`` tells, against the server that ``server.py`` has. The
pages of the tutorial are followed in ``test_tutorial.py``.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from pages.blocks import PAGES, ROOT, Block, python_blocks, with_our_server
from pages.python import run_python

RUN_PAGE = str(Path(__file__).with_name("run_page.py"))

WITH_BLOCKS = [
    page
    for page in PAGES
    if page.parent.name != "tutorial" and python_blocks(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(
    "page", WITH_BLOCKS, ids=[page.relative_to(ROOT).as_posix() for page in WITH_BLOCKS]
)
async def test_the_blocks_of_a_page_run(page: Path, server: str, tmp_path: Path) -> None:
    status, output = await run_python(RUN_PAGE, str(page), server, cwd=tmp_path)
    assert status == 0, f"{page.relative_to(ROOT)}:\n{output}"


def test_no_block_of_the_site_is_skipped() -> None:
    skipped = [
        f"{page.relative_to(ROOT)}, line {block.line}"
        for page in PAGES
        for block in python_blocks(page.read_text(encoding="utf-8"))
        if block.how.startswith("skip")
    ]
    assert not skipped


def test_the_readme_and_the_site_promise_the_same() -> None:
    promises = [
        re.findall(r"^\| \*\*.+ \|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        for page in ("README.md", "docs/index.md")
    ]
    assert len(promises[0]) == 9
    assert promises[0] == promises[1]


PAGE = textwrap.dedent("""\
    Text.

    ```python
    import trio, triopool

    async def main():
        async with triopool.ConnectionPool() as pool:
            print(await pool.get("https://www.example.org/path"))

    trio.run(main)
    ```

    <!-- run: in a pool -->
    ```python
    response = await pool.post(url, content=b"ping")
    ```

    <!-- run: in a pool -->
    ```python
    print(response.json()["hello"])
    ```

    ```console
    $ not python
    ```

    <!-- run: as a test -->

    ```python title="test_it.py"
    async def test_it(network, autojump_clock):
        assert network is not None
    ```

    <!-- run: skip, because it is half a sentence -->

    ```python
    else:
    ```
    """)


def test_blocks_of_all_kinds_are_found() -> None:
    whole, body, _, test, skipped = python_blocks(PAGE)
    assert (whole.line, whole.how) == (3, "")
    assert body == (14, "in a pool", "", 'response = await pool.post(url, content=b"ping")\n')
    assert (test.how, test.title) == ("as a test", "test_it.py")
    assert skipped == Block(36, "skip, because it is half a sentence", "", "else:\n")


async def test_blocks_of_all_kinds_are_run(server: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    status, output = await run_python(RUN_PAGE, str(page), server, cwd=tmp_path)
    assert status == 0, output
    assert output.startswith("<Response [200] to GET http://127.0.0.1:")
    assert "world\n" in output
    assert "1 passed" in output


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("```python\n\n1 / 0\n```", '.md", line 3, in'),
        ("<!-- run: in a pool -->\n\n```python\nawait nothing\n```", '.md", line 4, in'),
        ("<!-- run: somehow -->\n\n```python\n1\n```", "line 3: what is 'somehow'?"),
        ("```python\nasync def f(): pass\nf()\n```", "was never awaited"),
    ],
)
async def test_a_block_that_fails_tells_where(
    block: str, message: str, server: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{block}\n")
    status, output = await run_python(RUN_PAGE, str(page), server, cwd=tmp_path)
    assert status == 1
    assert message in output


def test_our_server_stands_for_all_others() -> None:
    code = (
        'a = "https://www.example.org/x", "wss://example.com", "http://a:b@proxy.example.org:3128"'
    )
    assert with_our_server(code, "http://127.0.0.1:8") == (
        'a = "http://127.0.0.1:8/x", "ws://127.0.0.1:8", "http://a:b@127.0.0.1:8"'
    )
