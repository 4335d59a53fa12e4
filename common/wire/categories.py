"""Category codes: what kinds of matter there are, in the words of the field.

A *condition* starts, goes on and ends, and can be looked at again (water, an open cover, smoke). A passing
*act* is over when it is seen (a rider without a helmet); a single act is never a ticket.
The GB/T 30428 column stays empty where the standard's own code is not known.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["condition", "act"]


class Category(Struct, frozen=True):
    """One kind of matter; ``severity`` is where it starts (1 notice … 4 critical)."""

    code: str
    en: str
    zh: str
    kind: Kind
    severity: int
    gbt_30428: str = ""


CATEGORIES: tuple[Category, ...] = (
    Category("camera.zone_crowded", "Crowding", "人群聚集", "condition", 2),
    Category("camera.zone_occupied", "Zone occupied", "区域占用", "condition", 2),
    Category("camera.wrong_way", "Riding the wrong way", "逆行", "act", 2),
    Category("camera.no_helmet", "E-bike rider without a helmet", "非机动车不戴头盔", "act", 2),
    Category("camera.standing_water", "Standing water", "积水内涝", "condition", 3),
    Category("camera.fire", "Open fire", "明火", "condition", 4),
    Category("camera.smoke", "Smoke in view", "烟雾", "condition", 3),
    Category("camera.fire_lane_blocked", "Fire lane occupied", "占用消防通道", "condition", 3),
    Category("camera.ebike_in_lift", "E-bike in a lift", "电动车进电梯", "act", 3),
    Category("camera.rubbish_overflow", "Overflowing rubbish point", "垃圾满溢", "condition", 1),
    Category("smoke.alarm", "Smoke detector alarm", "烟感报警", "condition", 4),
    Category("manhole.open", "Manhole cover opened or tilted", "井盖开启倾斜", "condition", 4),
    Category("manhole.moved", "Manhole cover moved", "井盖移位", "condition", 4),
    Category("manhole.water_high", "Water high below a cover", "井下水位高", "condition", 3),
    Category("manhole.gas_high", "Gas below a cover", "井下有害气体", "condition", 4),
    Category("flood.water_level", "Water level over the road", "路面积水水位", "condition", 3),
    Category("rain.intense", "Intense rain", "强降雨", "condition", 2),
    Category("button.emergency", "Emergency button", "一键报警", "condition", 4),
    Category("air.quality_poor", "Poor air quality", "空气质量差", "condition", 1),
    Category("rodent.activity", "Rodent activity", "鼠情", "condition", 1),
    Category("building.tilt", "Building tilt or settlement", "房屋倾斜沉降", "condition", 3),
    Category("device.silent", "Device silent", "设备失联", "condition", 2),
    Category("device.gateway_silent", "Gateway silent", "网关失联", "condition", 4),
    Category("device.sensor_stuck", "Sensor stands still", "传感器读数不变", "condition", 1),
    Category("device.quarantined", "Box quarantined", "设备隔离", "condition", 3),
    Category("device.camera_blind", "Camera cannot see", "摄像头视野异常", "condition", 2),
    Category("device.camera_stalled", "Camera's stream stands still", "视频流中断", "condition", 2),
    Category("device.camera_blocked", "Camera covered", "镜头遮挡", "condition", 2),
    Category("device.camera_blurred", "Camera out of focus", "画面模糊", "condition", 2),
    Category("device.camera_dark", "Camera's picture dark", "画面过暗", "condition", 1),
    Category("device.camera_moved", "Camera moved", "镜头移位", "condition", 2),
    Category("device.camera_frozen", "Camera's picture frozen", "画面冻结", "condition", 2),
    Category("device.sensor_silent", "Sensor cannot be read", "传感器读数异常", "condition", 2),
    Category("device.packets_abandoned", "Box gave up packets", "数据丢弃", "act", 2),
    Category("device.rejects_not_kept", "Box's bad messages beyond their quota", "异常报文超额", "act", 2),
    # What people report and no device of ours sees.
    Category("road.damaged", "Road surface damaged", "路面破损", "condition", 2),
    Category("road.blocked", "Road blocked", "道路阻断", "condition", 3),
    Category("street.rubbish", "Rubbish lying about", "暴露垃圾", "condition", 1),
    Category("street.parking", "Vehicles parked in disorder", "车辆乱停放", "condition", 1),
    Category("street.stall", "Stall occupying the road", "占道经营", "condition", 1),
    Category("street.riding", "Riders breaking rules again and again", "非机动车频发违法", "condition", 2),
    Category("street.facility", "Public facility damaged", "公共设施损坏", "condition", 2),
    Category("street.light", "Street lamp out", "路灯不亮", "condition", 1),
    Category("green.tree_down", "Tree fallen or leaning", "树木倒伏", "condition", 3),
    Category("noise.construction", "Noise of construction", "施工噪声", "condition", 1),
    Category("noise.neighbourhood", "Noise of neighbours or shops", "生活噪声", "condition", 1),
    Category("water.burst", "Water pipe burst", "水管爆裂", "condition", 3),
    Category("water.cut", "Water supply cut", "停水", "condition", 2),
    Category("power.wire_down", "Wire hanging or down", "线缆脱落", "condition", 4),
    Category("gas.smell", "Smell of gas", "燃气异味", "condition", 4),
    Category("fire.hazard", "Fire hazard", "消防隐患", "condition", 3),
    Category("building.crack", "Cracks in a building", "房屋裂缝", "condition", 3),
    Category("other.matter", "Another matter", "其他诉求", "condition", 1),
)
BY_CODE: dict[str, Category] = {category.code: category for category in CATEGORIES}
