"""The lexicon of known entities: what it says about new lines, and that a line cannot see itself in it."""

import json

from common.text.entity_lexicon import EntityLexicon

LINES = [["x", "new", "york", "y"], ["new", "york", "new"], ["bank", "x"], ["bank"], ["bank", "new", "york"]]
SPANS = [[(1, 3, "a")], [(0, 2, "a")], [(0, 1, "b")], [], [(0, 1, "b")]]


def test_counts_entities_and_occurrences():
    lexicon = EntityLexicon.count(LINES, SPANS)
    assert lexicon.entities == {"new\x1fyork": {"a": 2}, "bank": {"b": 2}}
    assert lexicon.occurrences == {"new\x1fyork": 3, "bank": 3}


def test_says_part_type_and_certainty_of_known_entities():
    before, first, last, after = EntityLexicon.count(LINES, SPANS).features(["z", "new", "york", "z"])
    assert before == ["known_next=a3"] and after == ["known_before=a3"]
    assert first == ["known=Ba3", "known=Ba3_2"] and last == ["known=Ea3", "known=Ea3_2"]
    assert EntityLexicon.count(LINES, SPANS).features(["bank"]) == [["known=Sb3", "known=Sb3_1"]]


def test_a_counted_line_is_judged_as_if_it_had_not_been():
    whole = EntityLexicon.count(LINES, SPANS)
    for row, (tokens, spans) in enumerate(zip(LINES, SPANS, strict=True)):
        others = EntityLexicon.count(LINES[:row] + LINES[row + 1 :], SPANS[:row] + SPANS[row + 1 :])
        assert whole.features(tokens, spans) == others.features(tokens), tokens


def test_a_line_that_comes_twice_cannot_see_its_copy():
    lexicon = EntityLexicon.count([["rare", "name"]] * 2, [[(0, 2, "a")]] * 2)
    assert lexicon.features(["rare", "name"], [(0, 2, "a")]) == [[], []]


def test_longer_entities_than_the_longest_are_left_out():
    assert EntityLexicon.count([["p", "q", "r"]], [[(0, 3, "a")]], longest=2).entities == {}


def test_state_is_plain_json():
    lexicon = EntityLexicon.count(LINES, SPANS)
    assert EntityLexicon(**json.loads(json.dumps(lexicon.state()))) == lexicon


def test_one_line_labelled_in_two_ways_is_two_lines():
    lines, spans = [["rare", "name"]] * 2, [[(0, 2, "a")], []]
    lexicon = EntityLexicon.count(lines, spans)
    assert lexicon.features(lines[0], spans[0]) == [[], []]
    assert lexicon.features(lines[1], spans[1])[0] == ["known=Ba4", "known=Ba4_2once"]
