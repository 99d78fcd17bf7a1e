"""The HiFT vocoder: mel spectrogram to waveform."""
