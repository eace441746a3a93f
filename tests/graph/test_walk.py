"""Walks over recorded graphs, against recursive ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.graph.walk import dependent, in_order, reach, reachable, topological, users, uses


@st.composite
def graphs(draw):
    """Nodes of which each is the sum of two before it, or of one with itself."""
    nodes = [tg.tensor(float(k)) for k in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 12))):
        nodes.append(draw(st.sampled_from(nodes)) + draw(st.sampled_from(nodes)))
    return nodes


def serials(nodes):
    return [t.serial for t in nodes]


def before(t):
    return {t.serial}.union(*map(before, t.inputs))


@given(graphs(), st.data())
def test_reach(nodes, data):
    some = data.draw(st.lists(st.sampled_from(nodes), min_size=1))
    found = serials(reach(some))
    assert found == sorted(set().union(*map(before, some)))
    first = data.draw(st.sampled_from(nodes)).serial
    later = reach(some, lambda t: [i for i in t.inputs if i.serial >= first])
    assert set(serials(later)) == {s for s in found if s >= first} | set(serials(some))


@given(graphs(), st.data())
def test_dependent(nodes, data):
    on = set(serials(data.draw(st.lists(st.sampled_from(nodes)))))
    assert dependent(nodes, on) == {t.serial for t in nodes if before(t) & on}


@given(graphs())
def test_uses_and_users(nodes):
    counted, found = uses(nodes), users(nodes)
    for t in nodes:
        places = [u.serial for u in nodes for i in u.inputs if i is t]
        assert serials(found.get(t.serial, [])) == places
        assert counted[t.serial] == len(places)


@given(graphs(), st.randoms())
def test_in_order(nodes, random):
    shuffled = nodes.copy()
    random.shuffle(shuffled)
    found = in_order(shuffled)
    assert sorted(serials(found)) == serials(nodes)
    place = {t.serial: k for k, t in enumerate(found)}
    assert all(place[i.serial] < place[t.serial] for t in found for i in t.inputs)
    assert serials(in_order(nodes)) == serials(nodes)


def test_walks_do_not_recurse():
    t = first = tg.tensor(1.0)
    for _ in range(20_000):
        t = t + 1.0
    assert len(reach([t])) == len(in_order([t])) == 40_001
    assert t.serial in dependent(reach([t]), {first.serial})


@given(st.integers(1, 8), st.data())
def test_things_with_edges(n, data):
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])))
    outs = {k: [b for a, b in sorted(pairs) if a == k] for k in range(n)}
    ins = {k: {a for a, b in pairs if b == k} for k in range(n)}
    keys = data.draw(st.permutations(range(n)))
    order = topological(keys, ins, outs)
    assert sorted(order) == list(range(n))
    assert all(order.index(a) < order.index(b) for a, b in pairs)
    closed = {k: {k}.union(*[{b} for b in outs[k]]) for k in range(n)}
    for _ in range(n):
        closed = {k: closed[k].union(*[closed[b] for b in closed[k]]) for k in range(n)}
    assert all(reachable(k, outs) == closed[k] - {k} for k in range(n))


def test_circles_come_to_an_end():
    assert topological("abc", {"a": "c", "b": "a", "c": "b"}, {"a": "b", "b": "c", "c": "a"}) == ["a", "b", "c"]
    assert reachable("a", {"a": "b", "b": "a"}) == {"a", "b"}
    with pytest.raises(KeyError):
        reachable("a", {})
