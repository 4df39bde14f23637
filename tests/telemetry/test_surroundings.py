from extproc.settings import Settings
from extproc.telemetry.labels import Setting
from extproc.telemetry.surroundings import Surroundings


def test_settings_that_are_compared_with_are_kept_as_numbers_and_replaced() -> None:
    """Whatever can be compared is shown under the setting's own name, yes and no as 1 and 0, and the latest holds."""
    surroundings = Surroundings()
    assert surroundings.settings == {}
    surroundings.record_settings(Settings())
    surroundings.record_settings(Settings(threshold_tokens=4096, adaptive_threshold=True, spillover_share=0.25))
    assert surroundings.settings == {
        Setting.THRESHOLD_TOKENS: 4096.0,
        Setting.THRESHOLD_MIN_TOKENS: 1024.0,
        Setting.ADAPTIVE_THRESHOLD: 1.0,
        Setting.SPILLOVER_SHARE: 0.25,
    }
