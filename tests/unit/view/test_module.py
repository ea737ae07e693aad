"""The view's files become one module only as long as they keep to the convention; these tests hold them to it."""

import re
import shutil
import subprocess

import pytest

from layerwise.view.module import WEB, joined, module_text, style_text

NODE = shutil.which("node")


def files(**sources):
    return {f"{name}.js": text for name, text in sources.items()}


def test_local_imports_and_the_word_export_go_and_the_rest_stays():
    text = joined(
        files(
            app='import { two, Three } from "./other.js";\n\nexport function mount() {\n  return two + Three;\n}\n'
            "\nexport default { render: mount };\n",
            other="export const two = 2;\nexport class Three {}\nfunction otherHelper() {}\n",
        )
    )
    assert text == (
        "const two = 2;\nclass Three {}\nfunction otherHelper() {}\n\n"
        "function mount() {\n  return two + Three;\n}\n\nexport default { render: mount };\n"
    )


def test_a_file_stands_behind_what_it_imports():
    text = joined(
        files(
            app='import { b } from "./b.js";\nconst app = b;',
            b='import { c } from "./c.js";\nexport const b = c;',
            c="export const c = 1;",
            another="const another = 0;",
        )
    )
    assert re.findall(r"^const (\w+)", text, re.MULTILINE) == ["another", "c", "b", "app"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('import other from "./other.js";', "line 1: expected a declaration"),
        ('import * as other from "./other.js";', "expected a declaration"),
        ('import { one as two } from "./other.js";', "expected a declaration"),
        ('import {\n  one,\n} from "./other.js";', "expected a declaration"),
        ('import { one } from "d3";', "expected a declaration"),
        ('import "./other.js";', "expected a declaration"),
        ("document.title = 'hello';", "expected a declaration"),
        ("export { one };", "expected a declaration"),
        ("export default { one };", "expected a declaration"),
        ("const { one, two } = three;", "expected a declaration"),
        ('import { missing } from "./app.js";', "line 1: app.js does not export missing"),
        ('import { one } from "./nowhere.js";', "x.js imports nowhere.js, which is not there"),
        ('import { loop } from "./x.js";\nexport const loop = 1;', "in a circle: x.js → x.js"),
        ("const mount = 1;", "app.js and x.js both declare mount"),
        ("const own = 1;\nfunction own() {}", "x.js and x.js both declare own"),
        ("const end = '</Script>';", "would end or change the element"),
        ("const end = '<!-- ';", "would end or change the element"),
        ("const late = () => import(`./${name}.js`);", "would fetch something"),
    ],
)
def test_a_file_that_breaks_the_convention_is_refused(source, complaint):
    with pytest.raises(ValueError, match=complaint):
        joined(files(app="export function mount() {}", x=source))


def test_the_views_own_files_are_one_module_with_the_entrys_default_export():
    text = module_text()
    assert len(re.findall(r"^export ", text, re.MULTILINE)) == 1
    assert "export default {" in text
    assert not re.search(r"^import ", text, re.MULTILINE)


def test_every_file_of_the_view_is_in_the_module():
    text = module_text()
    for file in WEB.rglob("*.js"):
        declared = re.findall(
            r"^export (?:async )?(?:function|class|const) (\w+)", file.read_text("utf-8"), re.MULTILINE
        )
        assert declared, f"{file} exports nothing"
        assert all(
            re.search(rf"^(?:async )?(?:function|class|const) {name}\b", text, re.MULTILINE) for name in declared
        )


def test_no_file_makes_markup_or_code_of_text():
    """Everything that is shown may come from a model's vocabulary."""
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|cssText"
    found = [
        f"{file.name}: {line.strip()}"
        for file in sorted(WEB.rglob("*.js"))
        for line in file.read_text("utf-8").splitlines()
        if re.search(ways, line)
    ]
    assert not found


def test_styles_fetch_nothing_and_stay_inside_the_view():
    text = re.sub(r"/\*.*?\*/", "", style_text(), flags=re.DOTALL)
    assert "url(" not in text
    assert "@import" not in text
    outside = [
        selector.strip()
        for rule in re.findall(r"(?:^|[{}])\s*([^{}@;]+)\{", text)
        for selector in rule.split(",")
        if not re.search(r"\.lw-|^\s*(from|to|\d+%)\s*$", selector)
    ]
    assert not outside


@pytest.mark.skipif(NODE is None, reason="node is not installed here")
def test_a_javascript_engine_takes_the_joined_module_and_each_file_by_itself(tmp_path):
    """Loading a file runs nothing that needs a page: what is on top of a file only declares."""
    (tmp_path / "joined.mjs").write_text(module_text(), "utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copytree(WEB, tmp_path, dirs_exist_ok=True)
    names = ["joined.mjs", *sorted(file.relative_to(WEB).as_posix() for file in WEB.rglob("*.js"))]
    loads = "\n".join(f'await import("./{name}");' for name in names)
    (tmp_path / "load.mjs").write_text(loads)
    done = subprocess.run([str(NODE), "load.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
