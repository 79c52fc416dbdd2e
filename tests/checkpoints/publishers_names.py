"""How different publishers name the same layers, written from their networks, not from the library's key maps."""

import re

_WORDS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")


def pwcnet_nvlabs_to_sniklaus(name: str) -> str | None:
    """None: not in sniklaus' network (the unused deconv2)."""
    kind = name.rsplit(".", 1)[1]
    if found := re.match(r"conv(\d)(aa|a|b)\.0", name):
        order = ("a", "aa", "b") if found[1] != "6" else ("aa", "a", "b")
        return f"moduleExtractor.module{_WORDS[int(found[1]) - 1]}.{2 * order.index(found[2])}.{kind}"
    if found := re.match(r"conv(\d)_(\d)\.0", name):
        return f"module{_WORDS[int(found[1]) - 1]}.module{_WORDS[int(found[2])]}.0.{kind}"
    if found := re.match(r"predict_flow(\d)\.", name):
        return f"module{_WORDS[int(found[1]) - 1]}.moduleSix.0.{kind}"
    if found := re.match(r"(deconv|upfeat)([3-6])\.", name):
        part = "moduleUpflow" if found[1] == "deconv" else "moduleUpfeat"
        return f"module{_WORDS[int(found[2]) - 2]}.{part}.{kind}"
    if found := re.match(r"dc_conv(\d)\.", name):
        return f"moduleRefiner.moduleMain.{2 * (int(found[1]) - 1)}.{kind}"
    return None


def pwcnet_nvlabs_to_mmflow(name: str) -> str | None:
    """None: not in mmflow's network (the unused deconv2)."""
    kind = name.rsplit(".", 1)[1]
    if found := re.match(r"conv(\d)(aa|a|b)\.0", name):
        order = ("a", "aa", "b") if found[1] != "6" else ("aa", "a", "b")
        return f"encoder.layers.{int(found[1]) - 1}.layers.{order.index(found[2])}.conv.{kind}"
    if found := re.match(r"dc_conv([1-6])\.0\.", name):
        return f"decoder.post_processor.layers.{int(found[1]) - 1}.conv.{kind}"
    rules = (
        (r"conv(\d)_(\d)\.0\.(\w+)", r"decoder.decoders.level\1.dense_net.layers.\2.layers.conv.\3"),
        (r"predict_flow(\d)\.(\w+)", r"decoder.decoders.level\1.predict_layer.\2"),
        (r"deconv([3-6])\.(\w+)", r"decoder.decoders.level\1.upflow_layer.\2"),
        (r"upfeat(\d)\.(\w+)", r"decoder.decoders.level\1.upfeat_layer.\2"),
        (r"dc_conv7\.(\w+)", r"decoder.post_processor.layers.6.\1"),
    )
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def liteflownet_sniklaus_to_caffe(name: str) -> str | None:
    """Layer/blob of the official network; None: S's own copy of the 1x1 layer, which Caffe shares."""
    head, kind = name.rsplit(".", 1)
    blob = "/0" if kind == "weight" else "/1"
    if found := re.fullmatch(r"moduleFeatures\.module(\w+)\.(\d)", head):
        stage, index = _WORDS.index(found[1]) + 1, int(found[2]) // 2 + 1
        return (f"conv{stage}" if stage in (1, 5, 6) else f"conv{stage}_{index}") + blob
    found = re.fullmatch(r"module(Matching|Subpixel|Regularization)\.(\d)\.(.*)", head)
    unit, level, part = found[1], int(found[2]) + 2, found[3]
    if part == "moduleFeat.0":
        return {"Matching": f"F0_F1_64_L2{blob}", "Subpixel": None, "Regularization": f"F0_128_L{level}{blob}"}[unit]
    if part == "moduleUpflow":
        return f"scaled_flow_R_L{level + 1}to{level}{blob}"
    if part == "moduleUpcorr":
        return f"corr_L{level}{blob}"
    if part.startswith("moduleDist"):
        if level >= 5:
            return f"dist_R_L{level}{blob}"
        return f"dist{'HW'[int(part[-1])]}_R_L{level}{blob}"
    if part.startswith("moduleScale"):
        return f"scaled_flow_R_L{level}_{part[-1].lower()}{blob}"
    index = int(part.split(".")[1])
    if unit == "Regularization":
        return f"conv{index // 2 + 1}_R_L{level}{blob}"
    step = "D1" if unit == "Matching" else "D2"
    if index < 6:
        return f"conv{index // 2 + 1}_{step}_L{level}{blob}"
    return f"scaled_flow_D1_L6{blob}" if (step, level) == ("D1", 6) else f"scaled_flow_{step}_res_L{level}{blob}"


def liteflownet2_ptlflow_to_mmflow(name: str) -> str | None:
    """None: not in mmflow's network (the last up_flow)."""
    head, kind = name.rsplit(".", 1)
    if found := re.fullmatch(r"feature_net\.convs\.(\d)\.(\d)", head):
        return f"encoder.layers.{found[1]}.layers.{int(found[2]) // 2}.conv.{kind}"
    found = re.fullmatch(r"(matching|subpixel|regularization)_nets\.(\d)\.(.*)", head)
    if found is None:
        return None
    unit, level, part = found[1], 6 - int(found[2]), found[3]
    here = f"decoder.decoders.level{level}"
    if part == "up_flow":
        return f"decoder.decoders.level{level + 1}.upflow_layer.{kind}"
    if part == "up_corr":
        return f"{here}.NetM.corr_up.{kind}"
    if part == "feat_conv.0":
        return f"{here}.rfeat_layer.conv.{kind}"
    if part.startswith("dist"):
        return f"{here}.NetR.dist_layer{part[4:]}.{kind}"
    net = {"matching": "NetM", "subpixel": "NetS", "regularization": "NetR"}[unit]
    if part == "flow_net" or part == "flow_net.10":
        return f"{here}.{net}.pred_flow.{kind}"
    return f"{here}.{net}.layers.{int(part.split('.')[1]) // 2}.conv.{kind}"


def liteflownet_sniklaus_to_ptlflow(name: str) -> str | None:
    """None: S's own copy of the 1x1 layer and the scales of the local filters, which ptlflow does not have."""
    head, kind = name.rsplit(".", 1)
    if found := re.fullmatch(r"moduleFeatures\.module(\w+)\.(\d)", head):
        return f"feature_net.convs.{_WORDS.index(found[1])}.{found[2]}.{kind}"
    found = re.fullmatch(r"module(Matching|Subpixel|Regularization)\.(\d)\.(.*)", head)
    unit, level, part = found[1], int(found[2]) + 2, found[3]
    if part.startswith("moduleScale") or (unit, part) == ("Subpixel", "moduleFeat.0"):
        return None
    if (unit, part) == ("Matching", "moduleFeat.0"):
        return f"feat2_conv.0.{kind}"
    here = f"{unit.lower()}_nets.{6 - level}"
    part = part.replace("moduleUpflow", "up_flow").replace("moduleUpcorr", "up_corr")
    part = part.replace("moduleFeat", "feat_conv").replace("moduleDist", "dist")
    part = part.replace("moduleMain", "feat_net" if unit == "Regularization" else "flow_net")
    if level >= 5:
        part = part.replace("dist.0", "dist")
    return f"{here}.{part}.{kind}"
