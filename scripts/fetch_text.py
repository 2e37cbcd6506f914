#!/usr/bin/env python3
"""Puts the default text, 106 English Wikipedia articles, into the cache as calibration.txt (the first 90) and test.txt (the
last 16) and prints its folder.

The articles come from a shortened Wikipedia dump among the test data of the pinned wheel gensim. They are reduced to prose in
WikiText-2's layout: every row starts and ends with a space, blank rows hold one space, ` = Title = ` opens an article and
` = = Heading = = ` a section. Redirects, references, tables, templates, lists, formulas, category, file and language links
are dropped, and so are the sections that hold nothing else (References, See also, ...). Both files must have the SHA-256
listed in enwiki_articles.sha256.

Needs the package mwparserfromhell (requirements-tools.txt). Touches no network once the folder exists."""

import argparse
import bz2
import json
import re
import xml.etree.ElementTree
import zipfile

from fetch_common import FetchError, SCRIPTS, cache_folder, download_wheel, new_folder, pinned, read_digests, run_main, sha256_of

NAME = "enwiki-articles"
MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
# Naming the platform makes pip take this wheel under any Python version.
WHEEL_OPTIONS = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64")
ARTICLES = 106
TEST_ARTICLES = 16
RECIPE = 1  # Raised whenever the text changes, so that older caches are made anew.

DROPPED_TAGS = {"ref", "references", "table", "gallery", "math", "chem", "timeline", "imagemap", "score", "code", "pre",
                "source", "syntaxhighlight", "hiero", "includeonly", "noinclude", "inputbox", "poem", "hr", "ol", "ul", "dl"}
DROPPED_NAMESPACES = {"file", "image", "category", "media", "wikt", "wiktionary", "commons", "wikisource"}
LANGUAGE_LINK = re.compile(r"(?:[a-z]{2,3}|simple|zh-[a-z-]+|be-x-old|roa-[a-z]+|map-bms|bat-smg|fiu-vro|cbk-zam|nds-nl)$")
DROPPED_SECTIONS = {"references", "notes", "notes and references", "references and notes", "footnotes", "citations", "see also",
                    "external links", "further reading", "bibliography", "sources", "works cited", "gallery"}
TABLE_REMAINS = re.compile(r"\s*(?:\{\||\|\}?|!|=)")  # Rows of tables that the parser took for text.
SENTENCE_END = re.compile(r"[.!?:;][\"')\]”’]*$")
LIST_ITEM = "\0"  # Marks rows that list markup opened; such rows are dropped.
HEADING = "\1"


def prose(code):
    """Visible running text of parsed wiki markup."""
    from mwparserfromhell import nodes

    parts = []
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            parts.append(str(node))
        elif isinstance(node, nodes.HTMLEntity):
            parts.append(node.normalize())
        elif isinstance(node, nodes.Heading):
            parts.append(f"\n{HEADING}{node.level}{prose(node.title)}\n")
        elif isinstance(node, nodes.ExternalLink):
            parts.append(prose(node.title) if node.title is not None else "")
        elif isinstance(node, nodes.Wikilink):
            target = str(node.title).strip()
            prefix = target.partition(":")[0].strip() if ":" in target else ""
            if prefix.lower() not in DROPPED_NAMESPACES and not LANGUAGE_LINK.match(prefix):
                parts.append(prose(node.text) if node.text is not None else target.lstrip(":"))
        elif isinstance(node, nodes.Tag):
            name = str(node.tag).strip().lower()
            if node.wiki_markup is not None and name in ("li", "dt", "dd"):
                parts.append(LIST_ITEM)
            elif name == "br":
                parts.append(" ")
            elif name not in DROPPED_TAGS and node.contents is not None:
                parts.append(prose(node.contents))
    return "".join(parts)


def tidy(line):
    """One row without the holes that dropped templates and references leave."""
    line = re.sub(r"<ref.*?(?:</ref>|$)", "", line)  # References that the parser took for text: never closed, mostly.
    line = re.sub(r"__[A-Z]+__", "", line)
    line = re.sub(r"\s+", " ", line)
    while True:
        closed = re.sub(r"\(\s*[;,:]*\s*\)|\[\s*\]", "", line)
        closed = re.sub(r"\(\s*[;,]\s*", "(", closed)
        if closed == line:
            break
        line = closed
    line = re.sub(r"\s+([,.;:!?)])", r"\1", line)
    line = re.sub(r"\(\s+", "(", line)
    line = re.sub(r",(?:\s*,)+", ",", line)
    return re.sub(r"\s+", " ", line).strip()


def is_prose(row):
    """Short rows that end no sentence are captions, cells, pseudo-code: what lost its markup."""
    return len(row.split()) >= 8 or (len(row.split()) >= 2 and SENTENCE_END.search(row) is not None)


def article_rows(title, markup):
    """Rows of one article in WikiText-2's layout, title row first."""
    import mwparserfromhell

    rows = [f"= {title} ="]
    headings = []  # Open headings that no prose has followed yet: (level, row).
    dropped_level = None
    for line in prose(mwparserfromhell.parse(markup)).split("\n"):
        if line.startswith(HEADING):
            level, text = max(2, int(line[1])), tidy(line[2:])
            if dropped_level is not None and level > dropped_level:
                continue
            dropped_level = level if text.lower() in DROPPED_SECTIONS else None
            headings = [(depth, row) for depth, row in headings if depth < level]
            if dropped_level is None and text:
                bar = " ".join("=" * level)
                headings.append((level, f"{bar} {text} {bar}"))
            continue
        text = tidy(line)
        if dropped_level is not None or LIST_ITEM in line or TABLE_REMAINS.match(line) or not is_prose(text):
            continue
        rows += [row for _, row in headings]
        headings = []
        rows.append(text)
    return rows


def layout(rows):
    """Text of an article: each heading stands between blank rows."""
    lines = []
    for row in rows:
        if row.startswith("= "):
            if lines[-1:] != [" "]:
                lines.append(" ")
            lines += [f" {row} ", " "]
        else:
            lines.append(f" {row} ")
    return "\n".join(lines) + "\n"


def articles(dump):
    """(title, markup) of the dump's articles in order, redirects left out."""
    text = title = None
    redirect = False
    namespace = "0"
    for _, element in xml.etree.ElementTree.iterparse(dump):
        tag = element.tag.rpartition("}")[2]
        if tag == "title":
            title = element.text
        elif tag == "ns":
            namespace = element.text
        elif tag == "redirect":
            redirect = True
        elif tag == "text":
            text = element.text or ""
        elif tag == "page":
            if namespace == "0" and not redirect and not text.lstrip().lower().startswith("#redirect"):
                yield title, text
            redirect = False
            element.clear()


def complete(folder):
    try:
        source = json.loads((folder / "sage_source.json").read_text(encoding="utf-8"))
        return source.get("recipe") == RECIPE and all((folder / name).is_file() for name in ("test.txt", "calibration.txt"))
    except (OSError, ValueError, AttributeError):
        return False


def verify(folder):
    for name, expected in read_digests(SCRIPTS / "enwiki_articles.sha256").items():
        digest = sha256_of(folder / name)
        if digest != expected:
            raise FetchError(f"{folder / name}: sha256 {digest}; expected {expected}; reinstall the pinned tools "
                             "(make clean-venv), delete the folder and run the command again.")


def main():
    parser = argparse.ArgumentParser(description="Fetches the default text and reduces it to prose; prints its folder.")
    parser.add_argument("--verify", action="store_true", help="check the digests of the stored text again")
    options = parser.parse_args()

    cache = cache_folder()
    final = cache / "texts" / NAME
    with new_folder(final, complete) as partial:
        if partial is not None:
            requirements = SCRIPTS / "requirements-text.txt"
            wheel = download_wheel(requirements, cache / "downloads", WHEEL_OPTIONS)
            print("reducing Wikipedia articles to prose", flush=True)
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, bz2.open(packed) as dump:
                texts = [layout(article_rows(title, markup)) for title, markup in articles(dump)]
            if len(texts) != ARTICLES:
                raise FetchError(f"{MEMBER}: {len(texts)} articles; expected {ARTICLES}; report this as a bug.")
            for name, chosen in (("calibration.txt", texts[:-TEST_ARTICLES]), ("test.txt", texts[-TEST_ARTICLES:])):
                (partial / name).write_text("".join(chosen), encoding="utf-8", newline="\n")
            verify(partial)
            (partial / "sage_source.json").write_text(json.dumps({
                "name": NAME,
                "source": f"gensim 4.4.0 (PyPI wheel, sha256 {pinned(requirements)[2][0]}), {MEMBER.rpartition('/')[2]}",
                "note": f"English Wikipedia, CC BY-SA 3.0, reduced to prose; {ARTICLES - TEST_ARTICLES} articles for "
                        f"calibration, {TEST_ARTICLES} for test",
                "recipe": RECIPE,
            }, indent=2) + "\n", encoding="utf-8")
            wheel.unlink()
    if options.verify:
        verify(final)
    print(final)
    return 0


if __name__ == "__main__":
    run_main(main)
