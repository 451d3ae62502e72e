"""``python -m medblip``, which launchers of several processes start."""

from medblip.cli import main

if __name__ == "__main__":
    main()
