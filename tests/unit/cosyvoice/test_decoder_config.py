"""config.yaml is data: what it may name, what is skipped and what is refused."""

from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from cosyvoice.config import AttributeDict, DecoderConfig, load_decoder_config
from cosyvoice.flow.solving import Solving
from tests.tiny_checkpoints import DECODER_CONFIG, N_SPEECH_TOKENS


def read(folder: Path, text: str) -> DecoderConfig:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_decoder_config(path)


def test_official_format_is_read(tmp_path: Path) -> None:
    text = DECODER_CONFIG.format(N_SPEECH_TOKENS=N_SPEECH_TOKENS)
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    config = load_decoder_config(path)
    assert config.sample_rate == 22050
    assert config.flow is config.flow
    assert config.flow.vocab_size == N_SPEECH_TOKENS
    assert config.flow.decoder.sigma_min == 1e-6
    assert config.flow.decoder.inference_cfg_rate == 0.7
    assert config.flow.spk_embed_affine_layer.in_features == 192
    assert not config.flow.training
    assert not config.hift.training
    assert "llm" not in config.entries
    assert not any(name.startswith("__set_seed") for name in config.entries)


def test_how_it_is_run_is_read(tmp_path: Path) -> None:
    text = "sample_rate: 22050\n"
    assert read(tmp_path, text).solving == Solving(10)
    text += "inference: {n_timesteps: 4, guided_steps: 2}"
    assert read(tmp_path, text).solving == Solving(4, 2)


@pytest.mark.parametrize("value", ["[4]", "{steps: 4}", "{n_timesteps: x}", "{n_timesteps: 0}"])
def test_how_it_cannot_be_run_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="n_timesteps"):
        _ = read(tmp_path, f"sample_rate: 22050\ninference: {value}").solving


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("x: !apply:os.system ['touch {marker}']", "os.system"),
        ("x: !apply:subprocess.run [['touch', '{marker}']]", "subprocess.run"),
        ("x: !new:subprocess.Popen {{args: ['touch', '{marker}']}}", "subprocess.Popen"),
        ("flow: !new:pathlib.Path {{a: 1}}", "pathlib.Path"),
        ("flow: !new:cosyvoice.config.importlib.import_module {{name: os}}", "import_module"),
        ("flow: !new:cosyvoice.config.Path {{}}", "cosyvoice.config.Path"),
        ("flow: !new:cosyvoice.config.load_decoder_config {{path: x}}", "load_decoder_config"),
        ("flow: !new:cosyvoice.flow.flow.torch.hub.load {{repo: x}}", "torch.hub.load"),
        ("flow: !new:cosyvoice.__init__.os {{}}", "__init__"),
        ("flow: !new:cosyvoice.nowhere.Nothing {{}}", "cosyvoice.nowhere.Nothing"),
        ("flow: !name:os.system", "os.system"),
        ("x: !!python/object/apply:os.system ['touch {marker}']", "os.system"),
        ("x: !python/object/apply:os.system ['touch {marker}']", "os.system"),
        ("x: !include:/etc/passwd", "include"),
        ("llm: !new:os.system {{command: 'touch {marker}'}}", "os.system"),
    ],
)
def test_commands_are_refused_by_name(tmp_path: Path, line: str, named: str) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(ConfigError, match=named):
        read(tmp_path, "sample_rate: 22050\n" + line.format(marker=marker)).build_flow()
    assert not marker.exists()


def test_bombs_are_refused(tmp_path: Path) -> None:
    laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    with pytest.raises(ConfigError, match="aliases"):
        read(tmp_path, laughs)
    with pytest.raises(ConfigError, match="too large"):
        read(tmp_path, "a: " + "[" * 60 + "]" * 60)
    with pytest.raises(ConfigError, match="too large"):
        read(tmp_path, "a: [" + "1, " * 20_000 + "1]")
    with pytest.raises(ConfigError, match="too large"):
        read(tmp_path, "#" * 1_000_001)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "named entries"),
        ("a: [", "not a decoder config"),
        ("{?: :", "not a decoder config"),
        ("flow: 3", "sample_rate"),
        ("sample_rate: fast", "sample_rate"),
        ("sample_rate: 22050", "no entry 'flow'"),
        ("sample_rate: 22050\nflow: 3", "MaskedDiffWithXvec"),
        ("sample_rate: 22050\nflow: !ref <other>", "other"),
        ("sample_rate: 22050\nflow: !ref <b>\nb: !ref <flow>", "leads nowhere"),
        ("sample_rate: 22050\nflow: !ref 3 * <sample_rate>", "not supported"),
        ("sample_rate: 22050\nflow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec {x: 1}", "'x'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text).build_flow()


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_decoder_config(tmp_path / "config.yaml")


def test_binary_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not a decoder config"):
        load_decoder_config(path)


def test_attribute_dict_names_what_there_is() -> None:
    options = AttributeDict(solver="euler")
    assert options.solver == "euler"
    with pytest.raises(AttributeError, match="there are solver"):
        _ = options.sigma
