"""scripts/fetch_text.py: wiki markup reduced to prose in WikiText-2's layout; the default text, where it has been fetched."""

import importlib.util
import io
import unittest

import fetch_common
import fetch_text

MARKUP = """{{Infobox|name=Apple}}{{Use dmy dates}}
[[File:Apple.jpg|thumb|An apple, eaten by [[Eve]].]]
An '''apple''' ({{lang-la|malum}}) is a [[fruit|sweet fruit]]{{sfn|Pomona|1999}} of the [[tree]]<ref name="a">Some book.</ref>, and
is grown &ndash; see [http://example.org here] &ndash; in [[:Category:Gardens|gardens]].<ref>Unclosed
== Botany ==
=== Roots ===
{| class="wikitable"
! Kind !! Size
|-
| big || 3
|}
* A list item of many words that nobody would call prose at all.
It has roots, <math>x^2</math> of them<br/>at least.
=== Leaves ===
{{main|Leaf}}
== Uses ==
Caption without any end
People eat it, and have done so for thousands of years
== See also ==
The pear is a close relative of the apple, and so is the quince.
=== Far away ===
Nothing here is kept, however many sentences there are. Not one.
== History ==
It is old.
[[Category:Fruit]]
[[de:Apfel]]
"""
# The reference that is never closed swallows the rest of its row only.
EXPECTED = ["= Apple =",
            "An apple is a sweet fruit of the tree, and",
            "is grown – see here – in gardens.",
            "= = Botany = =", "= = = Roots = = =", "It has roots, of them at least.",
            "= = Uses = =", "People eat it, and have done so for thousands of years",
            "= = History = =", "It is old."]
DUMP = b"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>One</title><ns>0</ns><revision><text>First.</text></revision></page>
<page><title>Moved</title><ns>0</ns><redirect title="One"/><revision><text>#REDIRECT [[One]]</text></revision></page>
<page><title>Old style</title><ns>0</ns><revision><text>#redirect [[One]]</text></revision></page>
<page><title>Talk:One</title><ns>1</ns><revision><text>Chat.</text></revision></page>
<page><title>Two</title><ns>0</ns><revision><text>Second.</text></revision></page>
</mediawiki>"""


class Reduction(unittest.TestCase):
    @unittest.skipIf(importlib.util.find_spec("mwparserfromhell") is None, "mwparserfromhell is not installed (make fetch)")
    def test_article(self):
        self.assertEqual(fetch_text.article_rows("Apple", MARKUP), EXPECTED)

    def test_layout_is_that_of_wikitext(self):
        rows = ["= A =", "First row.", "= = B = =", "= = = C = = =", "Second row."]
        self.assertEqual(fetch_text.layout(rows), " \n = A = \n \n First row. \n \n = = B = = \n \n = = = C = = = \n \n"
                                                  " Second row. \n")

    def test_redirects_and_other_namespaces_are_skipped(self):
        self.assertEqual(list(fetch_text.articles(io.BytesIO(DUMP))), [("One", "First."), ("Two", "Second.")])

    def test_holes_are_closed(self):
        self.assertEqual(fetch_text.tidy("Plato (; ) was , [ ] so ( ) old ( , he said) ."), "Plato was, so old (he said).")


FOLDER = fetch_common.cache_folder() / "texts" / fetch_text.NAME


@unittest.skipUnless(fetch_text.complete(FOLDER), "the default text is not there (make fetch)")
class Fetched(unittest.TestCase):
    def test_digests_and_articles(self):
        fetch_text.verify(FOLDER)
        for name, count in (("calibration.txt", 90), ("test.txt", 16)):
            lines = (FOLDER / name).read_text(encoding="utf-8").split("\n")
            self.assertEqual(sum(line.startswith(" = ") and not line.startswith(" = = ") for line in lines), count)
            self.assertTrue(all(line.startswith(" ") and line.endswith(" ") for line in lines[:-1]))
            self.assertEqual(lines[-1], "")


if __name__ == "__main__":
    unittest.main()
