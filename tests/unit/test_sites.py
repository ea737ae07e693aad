import pytest

from layerwise.errors import PromptError
from layerwise.sites import KINDS, PER_HEAD, Site

NAMES = {
    Site(0, "resid_pre"): "blocks.0.hook_resid_pre",
    Site(3, "resid_mid"): "blocks.3.hook_resid_mid",
    Site(11, "resid_post"): "blocks.11.hook_resid_post",
    Site(3, "attn_out"): "blocks.3.hook_attn_out",
    Site(3, "mlp_out"): "blocks.3.hook_mlp_out",
    Site(3, "q"): "blocks.3.attn.hook_q",
    Site(3, "k"): "blocks.3.attn.hook_k",
    Site(3, "v", head=1): "blocks.3.attn.hook_v[1]",
    Site(3, "z", head=0): "blocks.3.attn.hook_z[0]",
    Site(3, "pattern"): "blocks.3.attn.hook_pattern",
    Site(3, "mlp_post"): "blocks.3.mlp.hook_post",
}


def test_every_kind_has_a_name():
    assert {site.kind for site in NAMES} == set(KINDS)
    assert set(PER_HEAD) < set(KINDS)


@pytest.mark.parametrize(("site", "name"), NAMES.items(), ids=NAMES.values())
def test_sites_are_written_as_transformer_lens_names_them_and_read_back(site, name):
    assert str(site) == name
    assert Site.parse(name) == site


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blocks.3",
        "blocks.x.hook_z",
        "blocks.3.hook_z",
        "blocks.3.attn.hook_z[]",
        "blocks.-1.attn.hook_z",
        "hook_embed",
    ],
)
def test_what_names_no_site_is_refused_with_those_that_there_are(text):
    with pytest.raises(PromptError, match=r"names no site.*hook_resid_mid.*attn\.hook_pattern"):
        Site.parse(text)


@pytest.mark.parametrize(
    ("block", "kind", "head", "message"),
    [
        (0, "resid", None, "no kind of site called 'resid'. The kinds are resid_pre"),
        (-1, "z", None, "counted from 0"),
        (0, "z", -1, "counted from 0"),
        (0, "attn_out", 2, "attn_out has no heads"),
        (0, "resid_pre", 0, "resid_pre has no heads"),
    ],
)
def test_a_site_that_cannot_be_is_refused(block, kind, head, message):
    with pytest.raises(PromptError, match=message):
        Site(block, kind, head)
