"""Write a run's policy as one ONNX file, checked against PyTorch: ``python scripts/export.py RUN [--out policy.onnx]``."""

from ppo.export import main

if __name__ == "__main__":
    main()
