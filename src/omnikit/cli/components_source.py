"""Hydra reads the registry: `tokenizer=spiral_fsq` works without a YAML file, its node is made from the signature.

A distribution that has variants of its own says where by an entry point of group `omnikit.conf` whose value is the
dotted name of the folder; the files are found without importing anything of it.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from omnikit.contracts import bind_parameters, signature_of
from omnikit.plugins import plugin_folders
from omnikit.registry import available, resolve, slots


def component_node(component_id: str) -> dict[str, Any]:
    """The config node of a plain component: its id, whose weights to take, and every parameter with its default."""
    cls = resolve(component_id)
    defaults = bind_parameters(component_id, cls, {})
    parameters = {name: _plain(defaults.get(name, "???")) for name in signature_of(cls)}
    return {"component": component_id, "weights": None, **parameters}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict) or hasattr(value, "items"):
        return {name: _plain(item) for name, item in value.items()}
    return value


class ComponentsSource(ConfigSource):
    """Config source `components://`: groups are the slots, options the registered names."""

    @staticmethod
    def scheme() -> str:
        return "components"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.strip("/") in ("", *slots())

    def is_config(self, config_path: str) -> bool:
        path = config_path.strip("/").removesuffix(".yaml")
        return path.split("/")[0] in slots() and path in available(path.split("/")[0])

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        slot = config_path.strip("/")
        if slot == "":
            return [] if results_filter == ObjectType.CONFIG else sorted(slots())
        if slot not in slots() or results_filter == ObjectType.GROUP:
            return []
        return [component_id.split("/")[1] for component_id in available(slot)]

    def load_config(self, config_path: str) -> ConfigResult:
        path = config_path.strip("/").removesuffix(".yaml")
        if not self.is_config(path):
            raise ConfigLoadError(f"no component {path}")
        node = OmegaConf.create(component_node(path))
        return ConfigResult(provider=self.provider, path="components://", config=node, header={"package": None})


class ComponentsSearchPath(SearchPathPlugin):
    """Puts the files of other distributions, then `components://`, behind the packaged YAML files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, folder in plugin_folders().items():
            search_path.append(provider=name, path=folder.as_uri())
        search_path.append(provider="omnikit", path="components://")


def install() -> None:
    """Make Hydra know both (harmless when repeated)."""
    plugins = Plugins.instance()
    plugins.register(ComponentsSource)
    plugins.register(ComponentsSearchPath)
